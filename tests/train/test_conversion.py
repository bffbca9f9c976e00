"""Autoregressive checkpoints go on as diffusion, block-diffusion and hybrid models: with a mask token, and unchanged at first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer as Library

from cutaway.apps.cli import main
from cutaway.config import AttentionConfig, FeedForwardConfig, NormConfig, PositionConfig, StackConfig, TokenIds
from cutaway.decode import Sampling, Session, natural, replay, run
from cutaway.errors import CutawayError
from cutaway.lm import load
from cutaway.model import Call, Transformer, begin_token, visibility
from cutaway.text import ChatTemplate, SpecialPlan, Tokenizer, train_tokenizer
from cutaway.train.loop import Trainer
from cutaway.train.recipe import Recipe, load_recipe
from cutaway.weights import checkpoint
from tests import tiny

from . import runs, test_base

TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
BYTES = train_tokenizer("byte", [], specials=SpecialPlan(mask=False))
LLAMA = tiny.stack(
    attention=AttentionConfig(num_heads=4, num_kv_heads=2, bias=False, output_bias=False),
    feedforward=FeedForwardConfig(d_hidden=24, is_gated=True, bias=False, activation="silu"),
    norm=NormConfig(kind="rms"),
    position=PositionConfig(kind="rotary"),
)
STACKS = {"gpt2": tiny.stack(), "llama": LLAMA, "llama, tied": LLAMA}
KINDS = {
    "masked": ("objective.kind=masked",),
    "diffusion": ("objective.kind=diffusion",),
    "shifted": ("objective.kind=diffusion", "objective.is_shifted=true"),
    "blocks": ("objective.kind=diffusion", "objective.block_size=4"),
    "hybrid": ("objective.kind=hybrid", "objective.block_size=4"),
    "shifted hybrid": ("objective.kind=hybrid", "objective.block_size=4", "objective.is_shifted=true"),
}
PREDICTS = dict(zip(KINDS, ("masked", "masked", "masked_next", "masked", "hybrid", "hybrid_next"), strict=True))


def made(
    folder: Path, stack: StackConfig, tokenizer: Tokenizer = BYTES, *, rows: int = 0, is_tied: bool = False
) -> Transformer:
    """A base of random weights in a folder, its tokenizer and template beside it. rows: of its table that no token has."""
    roles = tokenizer.roles
    config = tiny.config(
        decoder=stack,
        vocab_size=tokenizer.vocab_size + rows,
        is_tied=is_tied,
        tokens=TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad, mask=roles.mask),
    )
    model = tiny.model(config)

    def beside(directory: Path) -> None:
        tokenizer.save(directory)
        ChatTemplate(TEMPLATE).save(directory)

    checkpoint.save(folder / "base", model, tokenizer_files=beside)
    return model


def recipe(folder: Path, *changes: str) -> Recipe:
    (folder / "text.txt").write_text(runs.TEXT, "utf-8")
    (folder / "more.toml").write_text(test_base.FINETUNE)
    return load_recipe(str(folder / "more.toml"), changes)


@pytest.mark.parametrize("rows", [0, 3], ids=["one more row", "a row that is there"])
@pytest.mark.parametrize("name", STACKS)
def test_before_training_nothing_is_changed_but_the_mask(name: str, rows: int, tmp_path: Path) -> None:
    base = made(tmp_path, STACKS[name], rows=rows, is_tied="tied" in name)
    trainer = Trainer(recipe(tmp_path, *KINDS["hybrid"]), tmp_path / "run")
    model, mask = trainer.model, trainer.data.tokenizer.roles.mask
    assert mask == BYTES.vocab_size == model.config.tokens.mask
    assert model.config.vocab_size == BYTES.vocab_size + max(1, rows)
    ids, call = torch.randint(0, BYTES.vocab_size, (2, 12)), Call(visibility.causal(12))
    with torch.inference_mode():
        assert torch.equal(trainer.model(ids, call)[..., :mask], load(tmp_path / "base").model(ids, call)[..., :mask])
    held = model.head.projection.weight if model.head else torch.empty(0)
    assert (held is model.token.weight) == ("tied" in name)
    for table, before in ((model.token.weight, base.token.weight), (held, base.head.projection.weight)):  # type: ignore[union-attr]
        assert torch.equal(table[:mask], before[:mask])
        assert torch.allclose(table[mask], before[:mask].mean(0), atol=1e-6)
        assert torch.equal(table[mask + 1 :], before[mask + 1 :])


@pytest.mark.parametrize("has_bias", [False, True])
@pytest.mark.parametrize("rows", [2, 5])
def test_a_token_begins_as_the_mean_of_others(rows: int, has_bias: bool) -> None:
    model = tiny.model(tiny.config(vocab_size=5, head_bias=has_bias))
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    begin_token(model, rows, [0, 1, rows, 4])
    after = model.state_dict()
    names = [
        "token.weight",
        "decoder.embedding.token.weight",
        "head.projection.weight",
        *["head.projection.bias"] * has_bias,
    ]
    for name in names:
        assert torch.allclose(after[name][rows], before[name][[i for i in (0, 1, 4) if i != rows]].mean(0), atol=1e-6)
        assert torch.equal(after[name][:rows], before[name][:rows])
    assert all(torch.equal(after[name], before[name]) for name in before if name not in names)
    assert model.config.vocab_size == len(after["token.weight"]) == max(5, rows + 1)


@pytest.mark.parametrize(("name", "kind"), list(zip(["gpt2", "llama"] * 3, KINDS, strict=True)))
def test_it_learns_reloads_and_decodes(name: str, kind: str, tmp_path: Path) -> None:
    made(tmp_path, STACKS[name])
    every = [f"training.{name}=25" for name in ("steps", "evaluate_every", "sample_every", "save_every")]
    changes = ("optimiser.learning_rate=0.02", *every)
    events = runs.train(recipe(tmp_path, *KINDS[kind], *changes), tmp_path / "run")
    losses = [event.values["loss"] for event in events if event.kind == "step"]
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    lm = load(tmp_path / "run")
    config, mask = lm.config, BYTES.vocab_size
    assert (config.predicts, config.block_size) == (
        PREDICTS[kind],
        4 if "block_size" in " ".join(KINDS[kind]) else None,
    )
    assert (config.tokens.mask, lm.tokenizer.roles.mask, lm.tokenizer.vocab_size) == (mask, mask, mask + 1)
    assert lm.tokenizer.encode(runs.TEXT) == BYTES.encode(runs.TEXT)
    assert lm.chat_template is not None
    assert lm.chat_template.source == TEMPLATE
    found = replay(run(natural(Session(lm.model), lm.ids("The "), Sampling(temperature=0), max_tokens=8)))
    assert mask not in found.values()
    assert len(found) == 8


@pytest.mark.parametrize("kind", ["blocks", "hybrid"])
def test_it_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    made(tmp_path, STACKS["gpt2"], is_tied=True)
    plan, base = recipe(tmp_path, *KINDS[kind]), tmp_path / "base"
    runs.assert_goes_on_bit_for_bit(plan, tmp_path, stop=3, meanwhile=lambda: base.rename(tmp_path / "gone"))


def test_a_mask_token_that_is_there_is_taken(tmp_path: Path) -> None:
    with_mask = train_tokenizer("byte", [])
    base = made(tmp_path, STACKS["llama"], with_mask)
    trainer = Trainer(recipe(tmp_path, *KINDS["blocks"]), tmp_path / "run")
    assert trainer.data.tokenizer == with_mask
    assert trainer.model.config.tokens.mask == with_mask.roles.mask
    assert all(torch.equal(weight, base.state_dict()[name]) for name, weight in trainer.model.state_dict().items())


def test_a_mask_token_that_only_one_side_knows_of(tmp_path: Path) -> None:
    """The tokenizer alone, or the config alone, as of LLaDA: both know it then, and no row is made."""
    with_mask = train_tokenizer("byte", [])
    made(tmp_path, STACKS["llama"], with_mask)
    described = json.loads((tmp_path / "base" / "config.json").read_text())
    (tmp_path / "base" / "config.json").write_text(json.dumps({k: v for k, v in described.items() if k != "cutaway"}))
    trainer = Trainer(recipe(tmp_path, *KINDS["hybrid"]), tmp_path / "one")
    assert trainer.model.config.tokens.mask == with_mask.roles.mask
    assert trainer.model.config.vocab_size == with_mask.vocab_size
    (tmp_path / "base" / "config.json").write_text(json.dumps(described))
    beside = json.loads((tmp_path / "base" / "tokenizer_config.json").read_text())
    del beside["mask_token"]
    (tmp_path / "base" / "tokenizer_config.json").write_text(json.dumps(beside))
    trainer = Trainer(recipe(tmp_path, *KINDS["hybrid"]), tmp_path / "other")
    assert trainer.data.tokenizer.roles.mask == with_mask.roles.mask
    assert trainer.model.config.vocab_size == with_mask.vocab_size


def test_next_token_prediction_changes_no_vocabulary(tmp_path: Path) -> None:
    made(tmp_path, STACKS["gpt2"])
    trainer = Trainer(recipe(tmp_path), tmp_path / "run")
    assert trainer.data.tokenizer == BYTES
    assert trainer.model.config.vocab_size == BYTES.vocab_size


def test_other_programs_open_what_a_family_holds_and_are_told_of_the_rest(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Llama's shape that fills in masks is LLaDA's; nobody else has blocks, or both halves of a hybrid."""
    made(tmp_path, STACKS["llama"])
    for kind, knob in (("diffusion", None), ("blocks", "block_size is 4"), ("hybrid", "predicts is 'hybrid'")):
        run = tmp_path / kind
        runs.train(recipe(tmp_path, *KINDS[kind], "training.steps=2"), run)
        code = main(["convert", str(run), str(tmp_path / f"{kind}-out"), "--to", "hf"])
        if knob is None:
            assert code == 0
            theirs = json.loads((tmp_path / f"{kind}-out" / "config.json").read_text())
            assert (theirs["model_type"], theirs["mask_token_id"]) == ("llada", BYTES.vocab_size)
            assert load(tmp_path / f"{kind}-out").config == load(run).config
            saved = Library.from_file(str(tmp_path / f"{kind}-out" / "tokenizer.json"))
            assert saved.token_to_id("<|mask|>") == BYTES.vocab_size
        else:
            assert code == 2
            assert knob in capsys.readouterr().err


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    made(tmp_path, STACKS["gpt2"])
    train_tokenizer("byte", [], specials=SpecialPlan(mask=False, num_spares=9)).save(tmp_path / "base")
    with pytest.raises(CutawayError, match="do not belong together"):
        Trainer(recipe(tmp_path, *KINDS["hybrid"]), tmp_path / "run")

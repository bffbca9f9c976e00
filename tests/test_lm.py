"""The public object: streams join to texts, batches equal singles, ids outside are refused, runs and directories open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Library
from tokenizers.processors import TemplateProcessing

import cutaway
from cutaway.config import PositionConfig, TokenIds
from cutaway.decode import Sampling, Session, Way, autoregressive, run
from cutaway.errors import CutawayError
from cutaway.finding import bundled_models, find, read_config
from cutaway.lens.attending import attending
from cutaway.lens.way import way
from cutaway.lm import LM, load
from cutaway.model import Call, visibility
from cutaway.runtime.attend import fused
from cutaway.text import train_tokenizer
from cutaway.weights import checkpoint, gguf
from tests import tiny
from tests.train import runs

BYTES = train_tokenizer("byte", [])
PROMPT = "Wie schön, der Käse!"


def byte_model(*, seed: int = 4, context: int = 96) -> LM:
    """Random weights over bytes: its text is full of broken characters, and its end token comes up."""
    ids = TokenIds(bos=BYTES.roles.bos, eos=BYTES.roles.eos)
    config = tiny.config(vocab_size=BYTES.vocab_size, context=context, embedding_scale=5.0, tokens=ids)
    return LM(tiny.model(config, seed=seed), BYTES, "bytes")


def drawn(seed: int) -> Sampling:
    return Sampling(temperature=1.0, seed=seed)


@settings(max_examples=30)
@given(seed=st.integers(0, 1000), max_tokens=st.integers(1, 40))
def test_the_pieces_of_a_stream_join_to_the_text(seed: int, max_tokens: int) -> None:
    lm = byte_model()
    pieces = list(lm.stream(PROMPT, max_tokens=max_tokens, sampling=drawn(seed)))
    ids = [piece.event.new for piece in pieces if piece.event is not None]
    text = "".join(piece.text for piece in pieces)
    assert text == BYTES.decode([i for i in ids if i is not None], skip_special=True)
    assert text == lm.generate(PROMPT, max_tokens=max_tokens, sampling=drawn(seed))
    assert len(ids) == lm.figures.num_tokens <= max_tokens


def test_texts_vary_with_the_seed_and_not_otherwise() -> None:
    lm = byte_model()
    texts = [lm.generate(PROMPT, max_tokens=20, sampling=drawn(seed)) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]


@pytest.mark.parametrize("sampling", [None, drawn(3)], ids=["greedy", "drawn"])
def test_a_batch_equals_its_singles(sampling: Sampling | None) -> None:
    lm, prompts = byte_model(), [PROMPT, "a", "The cat saw the dog.", PROMPT]
    singles = [
        "".join(piece.text for piece in lm.stream(prompt, max_tokens=24, sampling=sampling, request=index))
        for index, prompt in enumerate(prompts)
    ]
    assert lm.generate_batch(prompts, max_tokens=24, sampling=sampling) == singles
    assert len(set(singles)) == (3 if sampling is None else 4)


@settings(max_examples=30)
@given(seed=st.integers(0, 500), start=st.integers(0, 10), length=st.integers(1, 4))
def test_a_stop_string_ends_the_text_before_it(seed: int, start: int, length: int) -> None:
    lm = byte_model()
    whole = lm.generate(PROMPT, max_tokens=30, sampling=drawn(seed))
    stop = whole[start : start + length]
    if not stop:
        return
    expected = whole[: whole.find(stop)]
    pieces = list(lm.stream(PROMPT, max_tokens=30, sampling=drawn(seed), stop=[stop, "\0never"]))
    assert "".join(piece.text for piece in pieces) == expected


def test_a_stop_in_a_batch_ends_its_own_text_only() -> None:
    lm, prompts = byte_model(), [PROMPT, "a", "The cat"]
    whole = lm.generate_batch(prompts, max_tokens=24)
    stop = whole[0][5:7]
    found = lm.generate_batch(prompts, max_tokens=24, stop=[stop])
    assert found == [text.split(stop)[0] for text in whole]
    assert found != whole


def test_a_model_without_tokenizer_reads_and_writes_ids(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", tiny.model(tiny.config()))
    lm = load(tmp_path / "m")
    pieces = list(lm.stream([1, 2, 3], max_tokens=5))
    assert [piece.text for piece in pieces] == [""] * 5
    assert [piece.event.position for piece in pieces if piece.event] == [3, 4, 5, 6, 7]
    assert lm.logits([1, 2, 3]).shape == (1, 3, tiny.VOCAB)
    assert lm.trace([1, 2, 3], "output.logits").tokens == ()
    for use in (lambda: lm.generate("text"), lambda: lm.tokenizer):
        with pytest.raises(CutawayError, match=r"has no tokenizer, so"):
            use()
    with pytest.raises(CutawayError, match="writes no text that a stop string could end"):
        lm.generate([1], stop=["a"])


def test_greedy_tokens_are_the_likeliest_of_logits() -> None:
    lm = byte_model()
    ids = BYTES.encode(PROMPT)
    for piece in lm.stream(ids, max_tokens=12):
        assert piece.event is not None
        assert piece.event.new == int(lm.logits(ids)[0, -1].argmax())
        ids.append(piece.event.new)


def test_logits_have_the_shape_of_the_ids() -> None:
    lm = byte_model()
    rows = torch.randint(0, 256, (3, 7))
    assert lm.logits(rows).shape == (3, 7, BYTES.vocab_size)
    assert torch.allclose(lm.logits(rows)[1], lm.logits(rows[1])[0], atol=1e-4)


def test_a_model_that_scores_labels_is_traced_to_its_end() -> None:
    lm = LM(tiny.model(tiny.config(encoder=tiny.stack(), has_head=False, num_labels=2)), None, "reader")
    assert lm.trace([1, 2, 3])["output.labels"].shape == (1, 3, 2)


def test_a_trace_has_the_sites_that_were_announced() -> None:
    lm = byte_model()
    trace = lm.trace("I love you")
    assert {site.name: site.shape for site in lm.sites("I love you")} == trace.shapes
    assert trace.tokens == tuple(BYTES.token_text(i) for i in BYTES.encode("I love you"))
    torch.testing.assert_close(trace["output.logits"], lm.logits(BYTES.encode("I love you")), rtol=0, atol=2e-3)
    assert lm.trace(torch.zeros(2, 3, dtype=torch.long), "layers.0.attention.weights").shapes == {
        "layers.0.attention.weights": (2, 4, 3, 3)
    }
    with pytest.raises(CutawayError, match=r"layers"):
        lm.trace("I love you", "layer.0.attention.weights")


# What is asked, and what the message must say.
REFUSED = {
    "an id too large": (lambda lm: lm.logits([BYTES.vocab_size]), "ids run from 0 to"),
    "an id below 0": (lambda lm: lm.logits([-1]), "ids run from 0 to"),
    "no id": (lambda lm: lm.logits([]), "Give at least one id"),
    "ragged rows": (lambda lm: lm.logits([[1, 2], [3]]), "no rows of ids of equal length"),
    "three axes": (lambda lm: lm.logits(torch.zeros(1, 1, 1, dtype=torch.long)), "shape"),
    "a trace too long": (lambda lm: lm.trace("a" * 97), "97 tokens are more than this model reads, 96"),
    "a prompt too long": (lambda lm: lm.generate("a" * 97), "this model's positions end at 96"),
    "a prompt of a batch too long": (lambda lm: lm.generate_batch(["a", "a" * 97]), "97 tokens are more"),
    "no tokens wanted": (lambda lm: lm.generate("a", max_tokens=0), "max_tokens is 0"),
    "an empty stop": (lambda lm: lm.generate("a", stop=[""]), "stop string is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused(case: str) -> None:
    ask, message = REFUSED[case]
    with pytest.raises(CutawayError, match=message):
        ask(byte_model())


def test_an_encoder_decoder_says_that_it_reads_a_source() -> None:
    lm = LM(tiny.model(tiny.config(encoder=tiny.stack(), decoder=tiny.stack())), None, "two stacks")
    with pytest.raises(CutawayError, match="source"):
        lm.logits([1])


def test_an_encoder_decoder_answers_to_its_source() -> None:
    ids = TokenIds(decoder_start=BYTES.roles.bos, eos=BYTES.roles.eos)
    knobs = {"encoder": tiny.stack(), "decoder": tiny.stack(), "vocab_size": BYTES.vocab_size, "tokens": ids}
    lm = LM(tiny.model(tiny.config(**knobs)), BYTES, "two stacks")
    prompts = ["a cat", "dogs and dogs", "x"]
    texts = [lm.generate(prompt, max_tokens=8) for prompt in prompts]
    session = Session(lm.model, source_ids=BYTES.encode(prompts[0]))
    said = run(autoregressive(session, (), Sampling(temperature=0), max_tokens=8))
    assert texts[0] == BYTES.decode([event.new for event in said if event.new is not None], skip_special=True)
    assert len(set(texts)) == 3
    assert lm.generate_batch(prompts, max_tokens=8) == texts


@pytest.fixture(scope="module")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    runs.train(runs.recipe(folder), folder / "run")
    return folder / "run"


def test_a_run_opens_its_newest_complete_checkpoint(trained_run: Path) -> None:
    newest = runs.checkpoint(trained_run, 12)
    half = runs.checkpoint(trained_run, 99)
    half.mkdir()
    (half / "config.json").write_text("{}")
    assert find(str(trained_run)) == newest
    assert load(trained_run).generate("The ", max_tokens=8) == load(newest).generate("The ", max_tokens=8)
    assert cutaway.load(str(trained_run)).name == str(trained_run)
    half.joinpath("config.json").unlink()
    half.rmdir()


def test_a_run_without_checkpoint_says_so(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(CutawayError, match="has no complete checkpoint yet"):
        load(tmp_path)


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_truncated_checkpoint_is_refused(file: str, trained_run: Path, tmp_path: Path) -> None:
    for path in runs.checkpoint(trained_run, 12).iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[: len(content) // 2] if path.name == file else content)
    with pytest.raises(CutawayError, match=file):
        load(tmp_path)


def test_a_tokenizer_of_another_model_is_refused(tmp_path: Path) -> None:
    checkpoint.save(tmp_path / "m", tiny.model(tiny.config()))
    BYTES.save(tmp_path / "m")
    with pytest.raises(CutawayError, match="do not belong together"):
        load(tmp_path / "m")


def test_what_is_no_model_is_told_near_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.finding.bundled_models", lambda: {"stories": tmp_path})
    with pytest.raises(CutawayError, match=r"no model 'storys'.*Did you mean 'stories'\?"):
        find("storys")
    with pytest.raises(CutawayError, match=r"is no model: it holds neither a config\.json nor a run"):
        find(str(tmp_path))
    assert find("stories") == tmp_path


ENCODERS = {
    "masked": tiny.config(encoder=tiny.stack(), head_transform="gelu"),
    "vectors": tiny.config(encoder=tiny.stack(), has_head=False, has_pooler=True),
    "diffusion": tiny.config(predicts="masked"),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_a_model_that_sees_ahead_is_traced_so(name: str) -> None:
    lm = LM(tiny.model(ENCODERS[name]), None, name)
    trace = lm.trace([1, 2, 3, 4])
    assert (trace["layers.0.attention.weights"] > 0).all()
    assert [site.name for site in lm.sites([1, 2, 3, 4])] == trace.names
    if ENCODERS[name].has_head:
        assert torch.equal(
            lm.logits([1, 2, 3, 4]), lm.model(torch.tensor([[1, 2, 3, 4]]), Call(visibility.full(4), fused))
        )


READS = {"masked": 99, "masked in blocks": 3, "hybrid": 1, "next": 1}  # how many tokens become known at a time


@pytest.mark.parametrize("position", ["sinusoidal", "alibi"])
@pytest.mark.parametrize("name", READS)
def test_a_text_is_read_as_the_model_was_trained_to(name: str, position: Any) -> None:
    """Logits, traces of one text and of several, and attention made anew row by row: a token sees the blocks up to its own."""
    config = tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind=position)),
        vocab_size=BYTES.vocab_size,
        predicts=name.split()[0],
        block_size={"masked in blocks": 3, "hybrid": 4}.get(name),
    )
    lm, texts = LM(tiny.model(config), BYTES, name), ["The cats", "A dog"]
    place = torch.arange(8).unsqueeze(0)
    time = place // READS[name]
    seen = time <= time.T
    call = Call(visibility.build(known=time, reads=time, position=place))
    ids = torch.tensor([lm.ids(texts[0])])
    assert torch.allclose(lm.logits(ids), lm.model(ids, call), atol=1e-5)
    weights = lm.trace(texts[0])["layers.1.attention.weights"][0]
    assert torch.equal(weights > 0, seen.expand(4, -1, -1))
    few = lm.trace(texts[0], ["*query", "*key", "*value"])
    again = attending(lm.model, few, "", 1).weights(torch.tensor([1, 6]))
    assert torch.allclose(F.pad(again, (0, 8 - again.shape[-1])), weights[:, [1, 6]], atol=1e-6)
    both = lm.trace(texts, "*.weights")["layers.1.attention.weights"]
    assert torch.allclose(both[0], weights, atol=1e-6)
    assert torch.equal(both[1, :, :5] > 0, (seen[:5] & (place < 5)).expand(4, -1, -1))
    shown = torch.tensor(way(lm.model, BYTES, texts[0], layer=1, head=2).head.weights)
    assert torch.allclose(shown.float(), weights[2], atol=1e-6)


def test_an_encoder_continues_no_text() -> None:
    with pytest.raises(CutawayError, match="encoder only"):
        LM(tiny.model(ENCODERS["masked"]), None, "masked").generate([1, 2])


def test_a_config_is_read_without_the_weights(tmp_path: Path) -> None:
    place = bundled_models()["stories"]
    lm = load(place)
    gguf.save(tmp_path / "s.gguf", lm.model, lm.tokenizer)
    for name in ("stories", place, tmp_path / "s.gguf"):
        assert read_config(name).main == lm.config.main


def test_weights_are_kept_in_the_type_asked_for() -> None:
    lm = load("stories", dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in lm.model.parameters()} == {torch.bfloat16}
    assert lm.generate("Once upon a time", max_tokens=3)


@pytest.mark.parametrize("is_encoder", [False, True])
def test_a_prompt_begins_as_its_tokenizer_says(is_encoder: bool, tmp_path: Path) -> None:
    library = Library.from_file(str(bundled_models()["stories"] / "tokenizer.json"))
    names = [library.id_to_token(index) for index in (5, 6)]
    library.post_processor = TemplateProcessing(
        single=f"{names[0]} $A {names[1]}", special_tokens=[(names[0], 5), (names[1], 6)]
    )
    sides = {"encoder": tiny.stack()} if is_encoder else {"decoder": tiny.stack()}
    checkpoint.save(tmp_path, tiny.model(tiny.config(vocab_size=library.get_vocab_size(), **sides)))
    library.save(str(tmp_path / "tokenizer.json"))
    lm = load(tmp_path)
    plain = lm.tokenizer.encode("the cat")
    assert lm.ids("the cat") == [5, *plain, *([6] if is_encoder else [])]
    assert lm.ids(plain) == plain


def test_a_model_that_fills_in_tokens_is_not_taken_token_by_token() -> None:
    lm = LM(tiny.model(tiny.config(predicts="masked", tokens=TokenIds(mask=0))), None, "hidden")
    with pytest.raises(CutawayError, match="trained to fill in hidden tokens"):
        lm.generate([1, 2], way=Way(decoder="autoregressive"))
    events = [piece.event for piece in lm.stream([1, 0, 2], max_tokens=2)]
    assert sorted(event.position for event in events if event is not None) == [1, 3, 4]
    assert lm.logits([1, 2, 3]).shape == (1, 3, tiny.VOCAB)

"""llama.cpp opens what we write, reads the same ids from a text, and says the same."""

from __future__ import annotations

import json
import math
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import cutaway
from cutaway.lm import LM, load
from cutaway.text import Tokenizer
from cutaway.weights.gguf import WRITABLE, save
from cutaway.weights.gguf.cuts import CUTS
from cutaway.weights.gguf.vocabulary import USER, read_tokenizer
from tests import tiny
from tests.text.samples import trained
from tests.weights import gguf_files
from tests.weights.test_decoders import logits
from tests.weights.test_gguf_architectures import CASES, NAMES, opened
from tests.weights.test_gguf_vocabulary import TORTURE, foreign, piece_keys, pieces

llama_cpp = pytest.importorskip("llama_cpp")

EXACT, ROUNDED = (
    1e-5,
    1e-3,
)  # of the largest logit: the tolerance between families; llama.cpp looks GELU up in a table of halves
ROUNDING = ("Gemma", "GPTNeoX")
PROMPTS = ("Once upon a time", "The dragon was", "Lily had a red", "One day, Tom and his")
STORY = (
    "Once upon a time there was a little girl named Lily. She had a red ball. One day, she took the ball to the park and "
    "played with her friend Tom. Tom kicked the ball, and it flew into the pond. Lily was sad. A duck swam to the ball and "
    "pushed it back with its beak. Lily laughed and said, “Thank you, duck!” They all went home, and were happy."
)


def peer(path: Path, context: int, *, vocab_only: bool = False) -> Any:
    """The model in llama.cpp, its store in fp32, so that nothing is rounded but what the file rounds."""
    knobs = {"n_ctx": context, "n_threads": 1, "n_threads_batch": 1, "verbose": False, "vocab_only": vocab_only}
    return llama_cpp.Llama(str(path), logits_all=True, type_k=0, type_v=0, flash_attn=False, **knobs)


def their_logits(path: Path, ids: list[int], context: int) -> Tensor:
    """[position, vocab]."""
    model = peer(path, context)
    model.eval(ids)
    found = torch.tensor(np.array(model.scores[: len(ids)]))
    model.close()
    return found


@pytest.fixture(scope="module")
def stories() -> LM:
    return cutaway.load("stories")


@pytest.fixture(scope="module")
def files(stories: LM, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """`stories` in every kind of numbers."""
    folder = tmp_path_factory.mktemp("stories")
    for name, kind in WRITABLE.items():
        save(folder / f"{name}.gguf", stories.model, stories.tokenizer, kind=kind, name="stories")
    return {name: folder / f"{name}.gguf" for name in WRITABLE}


def test_greedy_tokens_are_the_same(stories: LM, files: dict[str, Path]) -> None:
    model, said = peer(files["f16"], 256), set()
    for prompt in PROMPTS:
        ours = [piece.event.new for piece in stories.stream(prompt, max_tokens=80) if piece.event]
        theirs: list[int] = []
        model.reset()
        for token in model.generate(stories.ids(prompt), temp=0.0, top_k=1, repeat_penalty=1.0):
            theirs.append(token)
            if token == stories.config.tokens.eos or len(theirs) == 80:
                break
        assert theirs == ours
        said.update(theirs)
    assert len(said) > 50, "tokens that do not vary prove nothing"


def perplexity(scores: Tensor, ids: list[int]) -> float:
    """Of every token but the first."""
    losses = torch.nn.functional.cross_entropy(scores[:-1].double(), torch.tensor(ids[1:]))
    return math.exp(losses.item())


def test_perplexity_hardly_changes_in_eight_bits(stories: LM, files: dict[str, Path]) -> None:
    ids = stories.ids(STORY)
    wide, narrow = (perplexity(their_logits(files[kind], ids, 256), ids) for kind in ("f16", "q8_0"))
    assert narrow == pytest.approx(wide, rel=0.005)
    assert perplexity(stories.logits(ids)[0], ids) == pytest.approx(wide, rel=0.001)


@pytest.mark.parametrize("kind", WRITABLE)
def test_both_read_the_same_numbers(kind: str, stories: LM, files: dict[str, Path]) -> None:
    ids = stories.ids(STORY)
    theirs, ours = their_logits(files[kind], ids, 256), load(files[kind]).logits(ids)[0]
    # llama.cpp rounds what it multiplies with quantised matrices to eight bits, and with halves to halves.
    bound = {"f32": 1e-3, "f16": 2e-3, "bf16": 2e-2}.get(kind, 5e-2)
    assert (theirs - ours).abs().max() <= bound * ours.abs().max()


@pytest.mark.parametrize(("name", "knobs"), CASES, ids=NAMES)
def test_every_architecture_computes_the_same(name: str, knobs: dict[str, Any], tmp_path: Path) -> None:
    ours, ids = opened(name, knobs, tmp_path / "m"), tiny.ids(1, 23)
    save(tmp_path / "m.gguf", ours, None, kind=WRITABLE["f32"])
    wanted, found = logits(ours, ids)[0], their_logits(tmp_path / "m.gguf", ids[0].tolist(), 48)
    bound = ROUNDED if name.startswith(ROUNDING) else EXACT
    assert wanted.std(dim=-1).min() > 1e-2
    assert (found - wanted).abs().max() <= bound * wanted.abs().max()


def test_texts_become_the_same_ids(stories: LM, files: dict[str, Path]) -> None:
    model = peer(files["f16"], 256, vocab_only=True)
    for text in (*TORTURE, *PROMPTS, STORY):
        assert their_ids(model, text) == stories.tokenizer.encode(text), text


def their_ids(model: Any, text: str, *, specials: bool = False) -> list[int]:
    return list(model.tokenize(text.encode(), add_bos=False, special=specials))


def test_special_tokens_are_found_by_both(stories: LM, files: dict[str, Path]) -> None:
    model = peer(files["f16"], 256, vocab_only=True)
    text = "<|user|>Hello there!<|end|><|assistant|> Hi <|endoftext|>"
    assert their_ids(model, text, specials=True) == stories.tokenizer.encode(text, specials=True)
    assert model.token_bos() == stories.tokenizer.roles.bos
    assert model.token_eos() == stories.tokenizer.roles.eos


def test_a_padded_vocabulary_opens(tmp_path: Path) -> None:
    path = gguf_files.saved(tmp_path, "q8_0")
    model = peer(path, 48)
    assert model.n_vocab() == 350
    text = "The cat and the dog"
    assert their_ids(model, text) == Tokenizer.encode(load(path).tokenizer, text)


@pytest.mark.parametrize("cut", [cut for cut in CUTS if cut.names[0] != "default"], ids=lambda cut: cut.names[0])
def test_every_rule_cuts_alike(cut: Any, tmp_path: Path) -> None:
    state = {"pre_tokenizer": cut.pre_tokenizer(), "normalizer": cut.normalizer()}
    state["model"] = {**json.loads(trained("bpe").to_json())["model"], "ignore_merges": cut.ignores_merges}
    tokenizer = foreign(state)
    save(tmp_path / "m.gguf", gguf_files.model(), tokenizer)
    model = peer(tmp_path / "m.gguf", 48, vocab_only=True)
    for text in (*TORTURE, STORY):
        if not cut.normalizes or unicodedata.is_normalized("NFC", text):  # llama.cpp composes nothing
            assert their_ids(model, text) == tokenizer.encode(text), text


@pytest.mark.parametrize("has_prefix", [True, False])
def test_pieces_become_the_same_ids(has_prefix: bool, tmp_path: Path) -> None:
    keys = piece_keys(pieces("bpe", 3), add_space_prefix=has_prefix)
    is_usual = keys["tokenizer.ggml.token_type"] != USER
    keys["tokenizer.ggml.tokens"] = [
        token for token, kept in zip(keys["tokenizer.ggml.tokens"], is_usual, strict=True) if kept
    ]
    for key in ("tokenizer.ggml.scores", "tokenizer.ggml.token_type"):
        keys[key] = keys[key][is_usual]
    tokenizer = read_tokenizer(keys, tmp_path)
    assert tokenizer is not None
    save(tmp_path / "m.gguf", gguf_files.model(vocab_size=tokenizer.vocab_size), tokenizer)
    model = peer(tmp_path / "m.gguf", 48, vocab_only=True)
    for text in (*TORTURE, STORY):
        assert their_ids(model, text) == tokenizer.encode(text), text

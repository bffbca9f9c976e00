"""Texts of which parts are hidden: nothing is lost, every way comes as often as it should, lengths are known before."""

from __future__ import annotations

from collections import Counter
from itertools import product
from math import comb, factorial, prod
from pathlib import Path

import numpy as np
import pytest

from cutaway.data import Denoised, DenoiseSource, Encoding, Marks, PairLoader, encode_denoised
from cutaway.data.denoise import corrupt, cut, draw, hidden_in, infill
from cutaway.errors import CutawayError
from cutaway.strict import build
from cutaway.train.recipe_data import PairsRecipe

END, MASK, SENTINELS, PAD = 1, 2, (3, 4, 5, 6, 7, 8, 9), 0
MARKS = Marks(end=END, mask=MASK, sentinels=SENTINELS)
Way = tuple[tuple[int, ...], tuple[int, ...]]
SMALL = [(size, hidden, num) for size in range(2, 8) for hidden in range(1, size) for num in range(1, 4)]


def ways(size: int, hidden: int, num: int, *, may_be_empty: bool) -> list[Way]:
    """Every way to keep and to hide: spans that do not touch. (kept, spans)"""
    least = 0 if may_be_empty else 1
    kept = [
        each
        for each in product(range(size + 1), repeat=num + 1)
        if sum(each) == size - hidden and all(gap > 0 for gap in each[1:-1])
    ]
    spans = [each for each in product(range(least, hidden + 1), repeat=num) if sum(each) == hidden]
    return list(product(kept, spans))


@pytest.mark.parametrize(("size", "hidden", "num"), SMALL)
def test_what_is_kept_and_what_is_hidden_are_the_text(size: int, hidden: int, num: int) -> None:
    ids = np.arange(10, 10 + size)
    for kept, spans in ways(size, hidden, num, may_be_empty=False):
        source, target = (side.tolist() for side in corrupt(ids, np.array(kept), np.array(spans), MARKS))
        assert source.pop() == target.pop() == END
        said: dict[int, list[int]] = {}
        for token in target:
            if token in SENTINELS:
                said[token] = []
            else:
                said[[*said][-1]].append(token)
        assert list(said) == list(SENTINELS[: num + 1])
        assert [len(said[sentinel]) for sentinel in said] == [*spans, 0]
        filled = [token for place in source for token in said.get(place, [place])]
        assert filled == ids.tolist()


@pytest.mark.parametrize(("size", "hidden", "num"), SMALL)
def test_masks_filled_in_are_the_text(size: int, hidden: int, num: int) -> None:
    ids = np.arange(10, 10 + size)
    for kept, spans in ways(size, hidden, num, may_be_empty=True):
        source, target = infill(ids, np.array(kept), np.array(spans), MARKS)
        assert target.tolist() == [*ids, END]
        left, filled, lengths = iter(ids.tolist()), [], iter(spans)
        for token in source.tolist()[:-1]:
            if token == MASK:
                filled += [next(left) for _ in range(next(lengths))]
            else:
                assert token == next(left), "what is kept stands in its place"
                filled.append(token)
        assert filled == ids.tolist()
        assert source.tolist()[-1] == END
        assert source.tolist().count(MASK) == num


@pytest.mark.parametrize("may_be_empty", [False, True])
@pytest.mark.parametrize(("size", "hidden", "num"), [(2, 1, 1), (5, 2, 2), (6, 4, 3), (7, 3, 2), (6, 3, 1)])
def test_every_way_comes_as_often_as_it_should(size: int, hidden: int, num: int, may_be_empty: bool) -> None:
    """Exact probabilities: of places all equal; of lengths equal too, or Poisson given the sum, which is multinomial."""
    every, draws, generator = ways(size, hidden, num, may_be_empty=may_be_empty), 6000, np.random.default_rng(4)
    found = Counter(
        (tuple(kept.tolist()), tuple(spans.tolist()))
        for kept, spans in (draw(size, hidden, num, generator, may_be_empty=may_be_empty) for _ in range(draws))
    )
    assert set(found) <= set(every)
    num_places = len({kept for kept, _ in every})
    assert num_places == comb(size - hidden + 1, num)
    wanted = {}
    for kept, spans in every:
        lengths = (
            factorial(hidden) / prod(map(factorial, spans)) / num**hidden if may_be_empty else num_places / len(every)
        )
        wanted[kept, spans] = lengths / num_places
    assert sum(wanted.values()) == pytest.approx(1)
    chi = sum((found[way] - draws * p) ** 2 / (draws * p) for way, p in wanted.items())
    assert chi < len(every) + 4 * (2 * len(every)) ** 0.5


def test_how_much_is_hidden() -> None:
    sizes = np.arange(2, 300)
    for share, mean_span in product((0.01, 0.15, 0.5, 0.99), (1, 3, 9.5)):
        hidden, num_spans = hidden_in(sizes, share, mean_span)
        assert ((hidden >= 1) & (hidden < sizes)).all()
        assert ((num_spans >= 1) & (num_spans <= hidden) & (num_spans <= sizes - hidden + 1)).all()
        assert abs(hidden[-1] - share * 299) <= 1
    assert [int(each[0]) for each in hidden_in(np.array([100]), 0.15, 3)] == [15, 5]


def test_documents_are_cut_into_pieces_of_like_lengths() -> None:
    starts = np.array([0, 9, 10, 12, 40])
    pieces = cut(starts, 4)
    assert pieces.tolist() == [[0, 3], [3, 6], [6, 9], [10, 12], *([12 + 4 * i, 16 + 4 * i] for i in range(7))]
    assert len(cut(np.array([0, 1, 2]), 4)) == 0


def encoding(folder: Path) -> Encoding:
    def letters(texts: list[str]) -> list[list[int]]:
        return [[10 + ord(letter) - ord("a") for letter in text if letter.isalpha()] for text in texts]

    return Encoding(letters, END, 40, folder / "cache", "letters")


def denoised(folder: Path, text: str | None = None, **knobs: object) -> Denoised:
    """Documents of 1 to 60 letters."""
    generator = np.random.default_rng(1)
    words = ["".join(chr(97 + int(i)) for i in generator.integers(0, 26, size)) for size in range(1, 61)]
    (folder / "a.txt").write_text("|".join(words) if text is None else text)
    settings = {"files": "a.txt", "separator": "|", "denoise": "spans", "length": 24, "folder": folder, **knobs}
    return encode_denoised(DenoiseSource(**settings), encoding(folder), MARKS)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["spans", "infill"])
def test_lengths_and_bytes_are_known_before_anything_is_drawn(kind: str, tmp_path: Path) -> None:
    part = denoised(tmp_path, denoise=kind)
    assert len(part.lengths) == sum(-(-size // 24) for size in range(2, 61))
    for number, lengths in enumerate(part.lengths.tolist()):
        for epoch in range(3):
            assert [len(side) for side in part.sides(number, (7, epoch, number))] == lengths
    whole = sum(range(2, 61))
    assert part.target_bytes.sum() == pytest.approx(whole if kind == "infill" else part.counts[1].sum())


def test_what_is_hidden_depends_on_seed_epoch_and_document_alone(tmp_path: Path) -> None:
    def rows(seed: int, number: int) -> list[list[int]]:
        part = denoised(tmp_path, weight=2.0)
        loader = PairLoader([part], context=64, batch_tokens=300, seed=seed, start_id=END, pad_id=PAD)
        return sorted(
            row
            for step in range(number * loader.batches_per_epoch, (number + 1) * loader.batches_per_epoch)
            for row in loader.batch(step).source_ids.tolist()
        )

    assert rows(1, 0) == rows(1, 0)
    assert rows(1, 0) != rows(1, 1)
    assert rows(1, 0) != rows(2, 0)
    assert len(rows(1, 0)) == 2 * len(denoised(tmp_path).lengths)


def test_held_out_texts_are_always_hidden_alike(tmp_path: Path) -> None:
    part = denoised(tmp_path, denoise="infill")
    loaders = [PairLoader([part], context=64, batch_tokens=300, seed=3, start_id=END, pad_id=PAD) for _ in range(2)]
    loaders[0].batch(5)
    for one, other in zip(loaders[0].all(), loaders[1].all(), strict=True):
        assert np.array_equal(one.source_ids, other.source_ids)


MISTAKES = {
    "no way to hide": ({"denoise": "mask"}, "'mask' is no way"),
    "everything": ({"share": 1.0}, "share is 1.0; it must be between 0 and 1"),
    "less than a token": ({"mean_span": 0.5}, "mean_span is 0.5"),
    "one token": ({"length": 1}, "length is 1"),
    "no weight": ({"weight": 0.0}, "weight is 0.0"),
    "no files": ({"files": ""}, "names no files"),
    "a missing file": ({"files": "b.txt"}, "b.txt' does not exist"),
    "too many spans": ({"share": 0.5, "mean_span": 1.0}, r"needs 13 tokens.*has 7 spare ones.*num_spares = 13"),
    "nothing to keep": ({"text": "a|b"}, "No text in a.txt has two tokens"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_refused(case: str, tmp_path: Path) -> None:
    knobs, message = MISTAKES[case]
    with pytest.raises(CutawayError, match=message):
        denoised(tmp_path, **knobs)  # type: ignore[arg-type]


def test_infill_needs_a_mask(tmp_path: Path) -> None:
    source = denoised(tmp_path, denoise="infill").source
    with pytest.raises(CutawayError, match="needs a mask token"):
        encode_denoised(source, encoding(tmp_path), Marks(end=END, mask=None, sentinels=()))


def test_a_recipe_says_by_its_keys_which_source_is_meant() -> None:
    table = {"train": [{"files": "a", "denoise": "infill"}, {"files": "b"}], "validation": [{"files": "c"}]}
    assert [type(source).__name__ for source in build(PairsRecipe, table).train] == ["DenoiseSource", "PairSource"]
    for wrong, message in (
        ({"files": "a", "denoise": "infill", "shares": 0.2}, r"Unknown key 'train\[0\].shares'.*'share'"),
        ({"files": "a", "share": 0.2}, r"Unknown key 'train\[0\].share'"),
        ({"files": "a", "denoise": "mask"}, r"'train\[0\].denoise' is 'mask'"),
        ({"denoise": "infill"}, r"Unknown key 'train\[0\].denoise'"),
        (3, r"train\[0\] must be a table"),
    ):
        with pytest.raises(CutawayError, match=message):
            build(PairsRecipe, {**table, "train": [wrong]})

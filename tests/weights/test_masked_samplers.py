"""LLaDA and Dream decode as their makers' programs do: token for token, greedily, from a checkpoint and from a .gguf file.

The loops are those of ML-GSAI/LLaDA (generate.py) and HKUNLP/Dream (generation_utils.py), written out once more over the plain
twin of the models, in fp64; only that a hole is not filled with a hole.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.config import TokenIds
from cutaway.decode import Denoising, Event, Figures, Sampling, Session, denoise, replay, run
from cutaway.decode.chance import REVEAL, Stateless
from cutaway.errors import CutawayError
from cutaway.lm import LM, load
from cutaway.weights import gguf
from tests import tiny
from tests.reference import masked_decoders as twin
from tests.weights.test_masked_decoders import DREAM, LLADA, SIZES, made

MASK, HOLES = 3, 8
PROMPT = [5, 9, 11, 7]
GREEDY = Sampling(temperature=0)
Read = Callable[[list[int]], Tensor]
FAMILIES: dict[str, tuple[Any, ...]] = {"llada": (LLADA, twin.LLADA, False), "Dream": (DREAM, twin.DREAM, True)}


@pytest.fixture(params=FAMILIES)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[LM, Read]:
    """A checkpoint as its makers write it, opened; and what the plain twin says at each place: [position, vocab]."""
    weights = {name: each.double() for name, each in made(tmp_path / "m", *FAMILIES[request.param]).items()}
    names = FAMILIES[request.param][1]

    def read(ids: list[int]) -> Tensor:
        logits = twin.logits(weights, names, SIZES, torch.tensor([ids]))[0]
        if request.param == "Dream":
            logits = torch.cat([logits[:1], logits[:-1]])
        logits[:, MASK] = -torch.inf
        return logits

    return load(tmp_path / "m", dtype=torch.float64), read


def decoded(lm: LM, denoising: Denoising, ids: list[int], figures: Figures | None = None) -> list[int]:
    """The text that the decoder makes of ids with holes."""
    text, found = list(ids), replay(run(denoise(Session(lm.model), ids, GREEDY, denoising=denoising), figures))
    assert set(found) == {place for place, token in enumerate(ids) if token == MASK}
    for place, token in found.items():
        text[place] = token
    return text


def llada(read: Read, prompt: list[int], length: int, steps: int, block_length: int) -> list[int]:
    """generate.py with temperature 0 and remasking = 'low_confidence'."""
    x = torch.tensor([*prompt, *[MASK] * length])
    num_blocks = length // block_length
    steps = steps // num_blocks
    for num_block in range(num_blocks):
        start, end = (len(prompt) + (num_block + more) * block_length for more in (0, 1))
        num_masks = int((x[start:end] == MASK).sum())
        transfer = [num_masks // steps + (i < num_masks % steps) for i in range(steps)]
        for i in range(steps):
            logits = read(x.tolist())
            x0 = logits.argmax(-1)
            x0_p = logits.softmax(-1).gather(1, x0.unsqueeze(1)).squeeze(1)
            x0_p[end:] = -torch.inf
            confidence = torch.where(x == MASK, x0_p, -torch.inf)
            index = confidence.topk(transfer[i]).indices
            x[index] = x0[index]
    return x.tolist()


def dream(read: Read, ids: list[int], steps: int, alg: str) -> list[int]:
    """DreamGenerationMixin._sample with temperature 0 and eps = 1e-3."""
    x = torch.tensor(ids)
    timesteps = torch.linspace(1, 1e-3, steps + 1)
    for i in range(steps):
        mask_index = x == MASK
        probs = read(x.tolist())[mask_index].softmax(-1)
        confidence, x0 = probs.max(-1)
        if alg == "topk_margin":
            best = probs.sort(-1, descending=True).values
            confidence = best[:, 0] - best[:, 1]
        if alg == "entropy":
            confidence = (probs * torch.log(probs + 1e-10)).sum(-1)
        t, s = timesteps[i], timesteps[i + 1]
        num_mask = int(mask_index.sum())
        number = int(num_mask * (1 - s / t)) if i < steps - 1 else num_mask
        full = torch.full(x.shape, -torch.inf, dtype=torch.float64)
        full[mask_index] = confidence
        if number > 0:
            filled = x.clone()
            filled[mask_index] = x0
            index = full.topk(number).indices
            x[index] = filled[index]
    return x.tolist()


@pytest.mark.parametrize(("steps", "block_length"), [(3, 8), (8, 4), (4, 4)])
def test_low_confidence_remasking(opened: tuple[LM, Read], steps: int, block_length: int) -> None:
    """Both models by LLaDA's program, block after block, a fixed number of tokens in each pass."""
    lm, read = opened
    wanted = llada(read, PROMPT, HOLES, steps, block_length)
    figures = Figures()
    num_passes = steps // (HOLES // block_length)
    denoising = Denoising(num_passes=num_passes, window=block_length)
    assert decoded(lm, denoising, [*PROMPT, *[MASK] * HOLES], figures) == wanted
    assert figures.num_passes == num_passes * (HOLES // block_length)
    assert len(set(wanted)) > 5


@pytest.mark.parametrize("steps", [8, 3])
@pytest.mark.parametrize(
    ("alg", "order"), [("maskgit_plus", "confidence"), ("topk_margin", "margin"), ("entropy",) * 2]
)
def test_dreams_orders(opened: tuple[LM, Read], alg: str, order: Any, steps: int) -> None:
    """Both models by Dream's program, where a pass may fill no hole, and the last all that are left."""
    lm, read = opened
    ids = [*PROMPT, *[MASK] * HOLES, 8]
    wanted, figures = dream(read, ids, steps, alg), Figures()
    assert decoded(lm, Denoising(order=order, num_passes=steps, smallest_time=1e-3), ids, figures) == wanted
    assert figures.num_passes == (steps - 1 if steps == HOLES else steps)  # the first of as many as holes fills none


def test_dreams_own_order_and_the_others_draw_as_they_say(opened: tuple[LM, Read]) -> None:
    """Orders that draw: 'origin' of Dream with its smallest time, MDLM's, and one hole after the other."""
    lm, read = opened
    ids, chance = [*PROMPT, *[MASK] * HOLES], Stateless(GREEDY.seed)
    for smallest in (1e-3, None):
        x, times = torch.tensor(ids), torch.linspace(1, smallest or 0.0, 5, dtype=torch.float64)
        for i in range(4):
            share = float(1 - times[i + 1] / times[i]) if i < 3 else 1.0
            best = read(x.tolist()).argmax(-1)
            for place in (x == MASK).nonzero()[:, 0].tolist():
                if chance.happens(share, place, REVEAL + 4 - i):
                    x[place] = best[place]
        found = decoded(lm, Denoising(order="ancestral", num_passes=4, smallest_time=smallest), ids)
        assert found == x.tolist()
    x = torch.tensor(ids)
    while len(holes := (x == MASK).nonzero()[:, 0]):
        place = holes[chance.draw(torch.ones(len(holes)), int(holes[0]), REVEAL + len(holes))]
        x[place] = read(x.tolist())[place].argmax()
    assert decoded(lm, Denoising(order="first_hitting"), ids) == x.tolist()


def test_all_that_is_sure_at_once(opened: tuple[LM, Read]) -> None:
    lm, read = opened
    ids, figures = [*PROMPT, *[MASK] * HOLES], Figures()
    x = torch.tensor(ids)
    while len(holes := (x == MASK).nonzero()[:, 0]):
        sure, best = read(x.tolist())[holes].softmax(-1).max(-1)
        taken = (sure >= 0.4) | (sure == sure.max())
        x[holes[taken]] = best[taken]
    assert decoded(lm, Denoising(order="threshold", threshold=0.4), ids, figures) == x.tolist()
    assert figures.num_passes < HOLES


def test_a_window_begins_at_the_leftmost_hole(opened: tuple[LM, Read]) -> None:
    """Of a text with holes here and there: those within four places of the first, then of the first that is left."""
    lm, read = opened
    ids = [5, MASK, 7, MASK, 9, MASK, MASK, 6, MASK, 4, MASK, MASK, MASK]
    x = torch.tensor(ids)
    for window in ([1, 3], [5, 6, 8], [10, 11, 12]):
        while left := [place for place in window if x[place] == MASK]:
            sure, best = read(x.tolist())[left].softmax(-1).max(-1)
            x[left[int(sure.argmax())]] = best[sure.argmax()]
    events: list[Event] = list(run(denoise(Session(lm.model), ids, GREEDY, denoising=Denoising(window=4))))
    assert replay(events) == {place: int(x[place]) for place, token in enumerate(ids) if token == MASK}
    assert [event.position for event in events[:2]] in ([1, 3], [3, 1])


def test_a_gguf_file_decodes_alike(opened: tuple[LM, Read], tmp_path: Path) -> None:
    lm, _ = opened
    gguf.save(tmp_path / "m.gguf", lm.model.float(), None, kind=gguf.WRITABLE["f32"])
    again = load(tmp_path / "m.gguf", dtype=torch.float64)
    assert again.config.tokens.mask == MASK
    lm.model.double()
    ids = [*PROMPT, *[MASK] * HOLES]
    for denoising in (Denoising(window=4), Denoising(order="entropy", num_passes=6, smallest_time=1e-3)):
        assert decoded(again, denoising, ids) == decoded(lm, denoising, ids)


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"window": 0}, "window is 0"),
        ({"smallest_time": 1.0}, "smallest_time is 1.0"),
        ({"smallest_time": 0.1, "order": "threshold"}, "left out for first_hitting and threshold"),
        ({"window": 4, "num_passes": 5}, "Allowed: 1 to 4"),
    ],
)
def test_what_cannot_be_is_refused(knobs: dict[str, Any], message: str) -> None:
    model = tiny.model(tiny.config(predicts="masked", tokens=TokenIds(mask=MASK)))
    with pytest.raises(CutawayError, match=message):
        list(run(denoise(Session(model), PROMPT, GREEDY, max_tokens=8, denoising=Denoising(**knobs))))

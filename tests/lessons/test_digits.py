"""Digits, noise and the denoiser: the files, the equations, and the lesson's test made to fail."""

from __future__ import annotations

import hashlib
import math
from importlib.resources import files
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from cutaway import lessons
from cutaway.lessons import diffusion
from cutaway.lessons.digits import denoiser as denoising
from cutaway.lessons.digits.images import NUM_PIXELS, Digits, nearest, read_digits
from cutaway.lessons.digits.noise import NUM_LEVELS, add_noise, kept, take_off
from cutaway.lessons.figures import Images
from cutaway.lm import LM
from tests.scripts import script

HOME = files("cutaway.lessons.digits")
RECIPE = Path(__file__).parents[2] / "recipes" / "digits" / "train.py"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_files_are_those_that_their_page_describes() -> None:
    described = HOME.joinpath("SOURCE.md").read_text("utf-8")
    for name in ("digits.csv.gz", denoising.WEIGHTS):
        data = HOME.joinpath(name).read_bytes()
        assert f"`{hashlib.sha256(data).hexdigest()}`" in described
        assert f"{len(data):,} bytes" in described
    assert len(HOME.joinpath(denoising.WEIGHTS).read_bytes()) <= 600_000


def test_digits_are_read_as_they_stand_in_the_file() -> None:
    known, held_out = read_digits()
    assert (len(known), len(held_out)) == (1500, 297)
    assert known.pixels.min() == -1
    assert known.pixels.max() == 1
    assert sorted(set(known.labels.tolist())) == list(range(10))
    assert ((known.pixels[0, 2:6] + 1) * 8).tolist() == [5, 13, 9, 1]  # the first line of the file, a 0
    assert int(known.labels[0]) == 0


def test_the_nearest_is_found_by_the_distance_of_the_pixels() -> None:
    known, held_out = read_digits()
    distances, shown = nearest(held_out.pixels[:3], known)
    for row in range(3):
        by_hand = [float((held_out.pixels[row] - image).square().mean().sqrt()) for image in known.pixels]
        assert float(distances[row]) == pytest.approx(min(by_hand), abs=1e-4)
        assert int(shown[row]) == int(known.labels[by_hand.index(min(by_hand))])
    assert float((nearest(held_out.pixels, known)[1] == held_out.labels).double().mean()) > 0.9


def test_less_is_kept_at_every_level_by_the_equation() -> None:
    found = kept(torch.arange(NUM_LEVELS + 1)).tolist()
    assert found[0] == 1
    assert all(one > other for one, other in pairwise(found[:-1]))
    half = math.cos((0.5 + 0.008) / 1.008 * math.pi / 2) ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    assert found[NUM_LEVELS // 2] == pytest.approx(half, abs=1e-6)


def test_noise_keeps_the_power_of_images_that_have_as_much() -> None:
    images, noise = torch.randn(200, NUM_PIXELS), torch.randn(200, NUM_PIXELS)
    for level in (0, 50, 150, NUM_LEVELS):
        noisy = add_noise(images, noise, torch.full((200,), level))
        assert float(noisy.square().mean()) == pytest.approx(1, abs=0.05)
    assert torch.equal(add_noise(images, noise, torch.zeros(200, dtype=torch.long)), images)


@pytest.mark.parametrize("eta", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("num_steps", [1, 7, NUM_LEVELS])
def test_a_perfect_guess_gives_back_the_image(num_steps: int, eta: float) -> None:
    image = read_digits()[0].pixels[:2]

    def perfect(noisy: Tensor, levels: Tensor) -> Tensor:
        share = kept(levels).unsqueeze(-1)
        return (noisy - share.sqrt() * image) / (1 - share).sqrt()

    steps = take_off(perfect, torch.randn(2, NUM_PIXELS, generator=seeded()), num_steps, eta, seeded(1))
    assert len(steps) == num_steps
    assert torch.allclose(steps[-1].images, image, atol=1e-4)


def test_fresh_noise_keeps_the_level_of_noise() -> None:
    """On the way, x_t of a perfect guess has the noise that its level says, with fresh noise or without."""
    image = torch.zeros(500, NUM_PIXELS)

    def perfect(noisy: Tensor, levels: Tensor) -> Tensor:
        return noisy / (1 - kept(levels).unsqueeze(-1)).sqrt()

    for eta in (0.0, 1.0):
        steps = take_off(perfect, torch.randn(500, NUM_PIXELS, generator=seeded()), 4, eta, seeded(1))
        left = 1 - kept(torch.tensor(NUM_LEVELS // 2))
        assert float((steps[1].images - image).square().mean()) == pytest.approx(float(left), rel=0.05)


def test_patches_are_cut_and_joined() -> None:
    images = torch.arange(128.0).reshape(2, 64)
    patches = denoising.cut(images)
    assert patches.shape == (2, 16, 4)
    assert patches[0, 5].tolist() == [18, 19, 26, 27]
    assert torch.equal(denoising.join(patches), images)


def test_every_patch_sees_every_patch() -> None:
    denoiser, level = denoising.load_denoiser(), torch.tensor([100])
    noisy = torch.randn(1, NUM_PIXELS)
    plain = denoising.guess_noise(denoiser, noisy, level, torch.tensor([3]))
    for pixel in (0, 63):
        changed = noisy.clone()
        changed[0, pixel] += 1
        moved = (denoising.guess_noise(denoiser, changed, level, torch.tensor([3])) - plain).abs()
        assert float(denoising.cut(moved).amax(-1).min()) > 1e-5
    assert not torch.allclose(denoising.guess_noise(denoiser, noisy, level, torch.tensor([8])), plain, atol=1e-3)


def test_the_lesson_shows_the_steps_and_is_refuted_by_an_untrained_network(
    stories: LM, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lessons.read("diffusion", stories, {"digit": "7", "steps": 12, "seed": 5})
    denoiser = denoising.load_denoiser()
    with torch.inference_mode():
        made = diffusion.make(denoiser, torch.tensor([7]), 12, 0.0, 5)
    images = [figure for figure in found.figures if isinstance(figure, Images)]
    assert torch.allclose(torch.tensor(images[1].values[0][-1]), ((made.last[0] + 1) / 2).clamp(0, 1), atol=1e-6)
    assert images[1].columns == tuple(f"step {step}" for step in range(0, 13, 2))
    assert found.wrong.holds

    for weight in denoiser.parameters():
        weight.zero_()
    monkeypatch.setattr(diffusion, "load_denoiser", lambda: denoiser)
    assert not lessons.read("diffusion", stories, {"steps": 4}).wrong.holds


def test_images_of_one_seed_are_one_image(stories: LM) -> None:
    one, other = (lessons.read("diffusion", stories, {"steps": 4, "eta": 1, "seed": seed}) for seed in (1, 1))
    assert one == other
    assert one != lessons.read("diffusion", stories, {"steps": 4, "eta": 1, "seed": 2})


def test_left_to_right_changes_one_token_a_pass(stories: LM) -> None:
    assert diffusion.tokens_changed(stories) == [1] * diffusion.NUM_TOKENS


def test_the_recipe_learns() -> None:
    recipe = script(RECIPE)
    known, held_out = read_digits()
    few = Digits(known.pixels[:64], known.labels[:64])
    recipe.BATCH, recipe.WARM = 16, 1
    denoiser = recipe.train(few, few, 16)
    fresh = recipe.first_weights(denoising.Denoiser())
    assert recipe.held_out_loss(fresh, held_out) == pytest.approx(1, abs=0.05)
    assert recipe.held_out_loss(denoiser, held_out) < 0.9

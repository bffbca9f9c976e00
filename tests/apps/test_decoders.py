"""`cutaway generate` and `evaluate` by every decoder, as a person types them."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from cutaway.apps.cli import main
from cutaway.train.recipe import load_recipe
from tests.train import runs

Capture = pytest.CaptureFixture[str]
RECIPE = runs.RECIPE.replace('kind = "character"', 'kind = "byte"')
KINDS = {
    "next": (),
    "hybrid": ("objective.kind='hybrid'", "objective.block_size=4"),
    "diffusion": ("objective.kind='diffusion'",),
    "blocks": ("objective.kind='diffusion'", "objective.block_size=4"),
}
MASK = "<|mask|>"


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A small run of each kind, which has seen a few lines."""
    found = {}
    for name, changes in KINDS.items():
        folder = tmp_path_factory.mktemp(name)
        plan = load_recipe(
            str(runs.write_recipe(folder, recipe=RECIPE)),
            [*changes, "training.steps=40", "training.save_every=40", "training.evaluate_every=40", "model.context=32"],
        )
        runs.train(plan, folder / "run")
        found[name] = str(folder / "run")
    return found


def ask(capsys: Capture, *words: str) -> tuple[str, str]:
    """What a command prints and says."""
    capsys.readouterr()
    assert main(words) == 0
    shown = capsys.readouterr()
    return shown.out, shown.err


@pytest.mark.parametrize(
    "drafts", [("--drafts", "2"), ("--drafts", "3", "--two-passes"), ()], ids=["one", "two", "auto"]
)
def test_the_hybrid_says_the_autoregressive_text_and_both_figures(
    drafts: tuple[str, ...], places: dict[str, str], capsys: Capture
) -> None:
    words = ("generate", places["hybrid"], "The cat", "--max-tokens", "12", "--temperature", "0")
    plain, _ = ask(capsys, *words, "--decoder", "autoregressive")
    shown, told = ask(capsys, *words, *drafts)
    assert shown == plain
    assert "12 tokens in" in told
    assert "tokens a pass" in told
    assert "Autoregressive: 12 tokens in 12 passes" in told
    found = json.loads(ask(capsys, *words, *drafts, "--json")[0])
    assert "The cat" + found["text"] + "\n" == plain
    assert found["autoregressive"]["num_passes"] == 12
    figures = found["figures"]
    assert figures["tokens_per_pass"] == 12 / figures["num_passes"]
    kinds = [event["kind"] for event in found["events"]]
    assert math.isclose(figures["acceptance"], kinds.count("accept") / kinds.count("draft"))


@pytest.mark.parametrize("drafts", [("--drafts", "3"), ()], ids=["three", "auto"])
@pytest.mark.parametrize("decoder", ["lookup", "draft"])
def test_drafts_from_elsewhere_change_no_greedy_text(
    decoder: str, drafts: tuple[str, ...], places: dict[str, str], capsys: Capture
) -> None:
    """The draft model is the model itself, which is always right."""
    words = ("generate", places["next"], "The cat saw the cat", "--max-tokens", "12", "--temperature", "0")
    plain, told = ask(capsys, *words)
    assert not told
    words = (*words, "--decoder", decoder, *drafts, *(("--draft-model", places["next"]) if decoder == "draft" else ()))
    shown, told = ask(capsys, *words)
    assert shown == plain
    assert "12 tokens in" in told
    assert {"lookup": "looked up in the text", "draft": "passes of the draft model"}[decoder] in told
    assert "Autoregressive: 12 tokens in 12 passes" in told
    assert f"The {decoder} decoder took" in told
    found = json.loads(ask(capsys, *words, "--json")[0])
    assert "The cat saw the cat" + found["text"] + "\n" == plain
    figures, kinds = found["figures"], [event["kind"] for event in found["events"]]
    assert figures["num_passes"] < 12
    assert figures["tokens_per_pass"] == 12 / figures["num_passes"]
    assert math.isclose(figures["acceptance"], kinds.count("accept") / kinds.count("draft"))
    assert figures["num_drafts"] == 3 if drafts else figures["num_drafts"] in (1, 2, 4, 8, 16)
    assert ("num_draft_passes" in figures) == (decoder == "draft")
    assert found["autoregressive"]["num_passes"] == 12


def test_the_same_seed_is_the_same_text_looked_up(places: dict[str, str], capsys: Capture) -> None:
    """Also of several prompts, and up to a stop string that drafts run over."""
    words = ("generate", places["next"], "The cat saw", "The dog", "--max-tokens", "20", "--seed", "3", "--stop", "a")
    plain, _ = ask(capsys, *words)
    assert ask(capsys, *words, "--decoder", "lookup", "--drafts", "6")[0] == plain


@pytest.mark.parametrize("kind", ["diffusion", "blocks"])
@pytest.mark.parametrize("order", ["confidence", "margin", "entropy", "threshold", "ancestral", "first_hitting"])
def test_diffusion_continues_a_prompt_in_every_order(
    order: str, kind: str, places: dict[str, str], capsys: Capture
) -> None:
    words = ("generate", places[kind], "The cat", "--max-tokens", "9", "--order", order, "--seed", "1", "--json")
    found = json.loads(ask(capsys, *words)[0])
    assert sorted(event["position"] for event in found["events"]) == list(range(7, 16))


def test_holes_are_filled_in_their_place(places: dict[str, str], capsys: Capture) -> None:
    shown, _ = ask(capsys, "generate", places["diffusion"], f"The {MASK}{MASK}{MASK} saw the", "--temperature", "0")
    assert shown.startswith("The ")
    assert shown.endswith(" saw the\n")
    assert len(shown) == len("The ___ saw the\n")


def test_a_batch_shows_each_text_with_its_holes_filled(places: dict[str, str], capsys: Capture) -> None:
    prompts = [f"The {MASK}{MASK}{MASK} saw", f"{MASK} dog"]
    shown, _ = ask(capsys, "generate", places["diffusion"], *prompts, "--temperature", "0")
    assert MASK not in shown
    assert shown.startswith("The ")
    assert " saw\n\n" in shown
    assert shown.endswith(" dog\n")


def test_a_part_is_written_anew(places: dict[str, str], capsys: Capture) -> None:
    words = ("generate", places["diffusion"], "The cat saw the dog", "--rewrite", "cat", "--temperature", "0")
    shown, _ = ask(capsys, *words)
    assert shown.startswith("The ")
    assert shown.endswith(" saw the dog\n")
    found = json.loads(ask(capsys, *words, "--json")[0])
    assert [event["kind"] for event in found["events"]] == ["remask"] * 3 + ["commit"] * 3


def test_a_part_beside_holes_is_written_anew(places: dict[str, str], capsys: Capture) -> None:
    """A hole is one token, however long the mask is spelled; a hole within the part is filled as it would be anyway."""
    for prompt, part, changed in (
        (f"The {MASK} saw the dog", "dog", range(14, 17)),
        (f"The {MASK}{MASK} saw", f"he {MASK}", range(1, 4)),
    ):
        words = ("generate", places["diffusion"], prompt, "--rewrite", part, "--temperature", "0", "--json")
        events = json.loads(ask(capsys, *words)[0])["events"]
        assert [event["position"] for event in events if event["kind"] == "remask"] == list(changed)


@pytest.mark.parametrize("decoder", ["hybrid", "autoregressive"])
def test_holes_that_nobody_would_fill_are_refused(decoder: str, places: dict[str, str], capsys: Capture) -> None:
    for more in ((), ("--max-tokens", "4")):
        assert main(["generate", places["hybrid"], f"The {MASK} saw", "--decoder", decoder, *more]) == 2
        shown = " ".join(capsys.readouterr().err.split())
        assert (
            f"The text has holes, and the {decoder} decoder fills none: this model was trained to say the next" in shown
        )


def test_evaluate_says_what_is_a_bound(places: dict[str, str], capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(runs.TEXT[:500].replace("cat", "kät"), "utf-8")
    text = str(tmp_path / "text.txt")
    for kind, place in places.items():
        shown, _ = ask(capsys, "evaluate", place, text)
        found = json.loads(ask(capsys, "evaluate", place, text, "--json")[0])
        is_exact = kind in ("next", "hybrid")
        assert ("an upper bound, by 4 draws" in shown) == (not is_exact)
        assert found["estimate"] == ("exact" if is_exact else "bound")
        assert (found["standard_error"] is None) == is_exact
        assert found["bits_per_character"] > found["bits_per_byte"]


@pytest.mark.parametrize(
    ("kind", "words", "message"),
    [
        ("hybrid", ("--decoder", "diffusion"), "trained to predict 'hybrid'. Use the hybrid or autoregressive decoder"),
        ("hybrid", ("--order", "margin"), "--order is for the diffusion decoder, and"),
        ("hybrid", ("--passes", "2", "--rewrite", "cat"), "--passes and --rewrite are for the diffusion decoder"),
        (
            "hybrid",
            ("--window", "2"),
            "which was trained to say the next token and to draft those behind it, in blocks of 4",
        ),
        ("hybrid", ("--drafts", "9"), "learned to draft 1 to 3 tokens ahead"),
        ("hybrid", ("--drafts", "many"), "Give a number of tokens, or auto"),
        ("hybrid", ("--drafts", "²"), "Give a number of tokens, or auto"),
        ("hybrid", ("--decoder", "magic"), "Allowed: autoregressive, diffusion, hybrid"),
        ("diffusion", ("--drafts", "3"), "--drafts is for the decoders hybrid, lookup and draft"),
        ("diffusion", ("--decoder", "lookup"), "taken token by token, its text would mean nothing"),
        ("next", ("--drafts", "3"), "decodes by autoregressive. Leave it out, or add --decoder lookup."),
        ("next", ("--draft-model", "stories"), "decodes by autoregressive. Leave it out, or add --decoder draft."),
        ("next", ("--decoder", "lookup", "--two-passes"), "--two-passes is for the hybrid decoder"),
        ("next", ("--decoder", "lookup", "--drafts", "0"), "num_drafts is 0"),
        ("next", ("--decoder", "lookup", "--drafts", "-1"), "Give a number of tokens, or auto"),
        ("next", ("--decoder", "draft"), "--decoder draft needs a draft model"),
        ("next", ("--decoder", "draft", "--draft-model", "stories"), "'stories' cannot draft for"),
        ("next", ("--decoder", "draft", "--draft-model", "nowhere"), "There is no model 'nowhere'"),
        ("diffusion", ("--decoder", "autoregressive"), "taken token by token, its text would mean nothing"),
        ("diffusion", ("--passes", "99"), "trained to fill in hidden tokens. Allowed: 1 to 9."),
        ("blocks", ("--passes", "5"), "trained to fill in hidden tokens, in blocks of 4. Allowed: 1 to 4."),
        ("diffusion", ("--order", "best"), "Allowed: ancestral"),
        ("diffusion", ("--threshold", "0.5", "--order", "margin"), "--order is margin"),
        ("diffusion", ("--rewrite", "mouse"), "does not stand in the prompt"),
        ("diffusion", ("--max-tokens", "0"), "this model was trained to fill in hidden tokens: nothing is left for it"),
        ("diffusion", ("--max-tokens", "-1"), "max_tokens is -1"),
    ],
)
def test_what_does_not_go_together_is_one_message(
    kind: str, words: tuple[str, ...], message: str, places: dict[str, str], capsys: Capture
) -> None:
    capsys.readouterr()
    assert main(["generate", places[kind], "The cat", "--max-tokens", "9", *words]) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in " ".join(shown.err.split())
    assert shown.err.count("\n") == 1

"""`cutaway inspect` and `cutaway demo`, run in this process on a small model: what they print, and what they refuse."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.cells import cell_len
from rich.console import Console

from cutaway import cost
from cutaway.apps.cli import main
from cutaway.apps.inspect import wording
from cutaway.apps.inspect.characters import COMPUTED, LEARNED, LOOK, QUIET
from cutaway.apps.inspect.colour import SCALES, contrast, mixed, palettes, readable_on
from cutaway.apps.inspect.html import page
from cutaway.apps.inspect.markup import as_script
from cutaway.apps.inspect.terminal import show
from cutaway.apps.inspect.tree import tree
from cutaway.config import AttentionConfig, ExpertsConfig, FeedForwardConfig, PositionConfig
from cutaway.decode import Sampling
from cutaway.lens.way import Way, way
from cutaway.lm import LM, load
from tests import tiny
from tests.apps.small import saved
from tests.text.samples import trained

PROMPT = "The cat and the dog went up the hill"
STAGES = ("Tokens", "Input", "Nearest words", "Attention of", "Stream of", "Feed-forward", "Output", "Chosen")
HOSTILE = "</script><script>owned=1</script><img src=x onerror=owned=1>&amp;\"'<!--"
ESCAPE = "\x1b"


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("models") / "small")


@pytest.fixture(scope="module")
def lm(directory: Path) -> LM:
    return load(directory)


@pytest.fixture
def inspect(directory: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("COLUMNS", "80")

    def run(*words: str, code: int = 0) -> str:
        found = main(["inspect", str(directory), *words])
        captured = capsys.readouterr()
        assert found == code, captured.err
        return captured.out if code == 0 else captured.err

    return run


def looked(lm: LM, prompt: str = PROMPT, **knobs: Any) -> Way:
    return way(lm.model, lm.tokenizer, prompt, **knobs)


def test_the_stages_come_in_the_order_of_the_way(inspect: Any) -> None:
    lines = inspect(PROMPT).splitlines()
    starts = [next(i for i, line in enumerate(lines) if line.startswith(stage)) for stage in STAGES]
    assert starts == sorted(starts)


def test_the_numbers_printed_are_those_of_the_way(inspect: Any, lm: LM) -> None:
    printed, found = inspect(PROMPT), looked(lm)
    for token, entry in zip(found.tokens, found.inputs, strict=True):
        assert re.search(rf"^ +{token.index}  {re.escape(token.text)} +{token.id}  ", printed, re.MULTILINE)
        norms = " +".join(f"{norm:.2f}" for norm in (entry.word_norm, entry.position_norm, entry.sum_norm))
        shares = " +".join(map(wording.chance, (entry.word_share, entry.position_share)))
        assert re.search(rf"^ +{token.index}  {re.escape(token.text)} +{norms} +[█░]+ +{shares}", printed, re.MULTILINE)
    for candidate in found.output.candidates:
        logit, exponential = wording.number(candidate.logit), f"{candidate.exponential:.4f}"
        assert re.search(
            rf"{re.escape(candidate.text)} +{logit} +{exponential} +{wording.chance(candidate.share)}", printed
        )
    for reading in found.stream:
        assert re.search(rf"{wording.after(reading)} +{wording.number(reading.norm)} ", printed)
    assert f"Chosen  {found.output.choice.text}  id {found.output.choice.id}." in printed


def test_the_picture_shades_the_weights(inspect: Any, lm: LM) -> None:
    found = looked(lm, layer=1, head=2)
    printed = inspect(PROMPT, "--layer", "1", "--head", "2").splitlines()
    start = next(i for i, line in enumerate(printed) if line.lstrip().startswith("0 1 2 3"))
    shades = {0: "  ", 1: "░░", 2: "▒▒", 3: "▓▓", 4: "██"}
    for query, weights in enumerate(found.head.weights):
        drawn = "".join(
            "· " if key > query else shades[sum(weight >= least for least in (0.05, 0.25, 0.5, 0.75))]
            for key, weight in enumerate(weights)
        )
        assert drawn in printed[start + 1 + query]
        assert printed[start + 1 + query].rstrip().endswith(f"{max(weights):.2f}")


@pytest.mark.parametrize("columns", [80, 100, 132])
@pytest.mark.parametrize("prompt", [PROMPT, "漢字 🙂 É\n\t the", "cat dog " * 40], ids=["plain", "wide", "long"])
def test_no_line_is_broken(inspect: Any, monkeypatch: pytest.MonkeyPatch, columns: int, prompt: str) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = inspect(prompt).splitlines()
    assert max(map(cell_len, lines)) <= min(columns, 100)
    rows = [line for line in lines if re.match(r"^ +\d+ +(?!others?\b)\S.*[░▒▓█·]", line)]
    assert all(re.search(r"(\d\.\d\d|%) *$", row) for row in rows)


def test_a_long_prompt_says_what_is_shown(inspect: Any) -> None:
    printed = inspect("cat dog " * 40)
    found = re.search(r"(\d+) tokens; shown are (\d+) to (\d+), all of them were read\.", printed)
    assert found is not None
    total, first, last = map(int, found.groups())
    assert (last, last - first) == (total - 1, 23)


def test_no_escape_code_without_a_terminal_or_with_no_color(inspect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    plain = inspect(PROMPT)
    assert ESCAPE not in plain
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert ESCAPE in inspect(PROMPT)
    monkeypatch.setenv("NO_COLOR", "1")
    assert inspect(PROMPT) == plain


def test_json_is_the_way(inspect: Any, lm: LM) -> None:
    words = ("--layer", "0", "--head", "1", "--position", "3", "--temperature", "0.7", "--top-k", "5", "--top-p", "0.9")
    found = json.loads(inspect(PROMPT, *words, "--seed", "4", "--json"))
    sampling = Sampling(temperature=0.7, top_k=5, top_p=0.9, seed=4)
    assert found == looked(lm, layer=0, head=1, position=3, sampling=sampling).as_dict()


def test_the_prompt_may_be_left_out(inspect: Any) -> None:
    assert json.loads(inspect("--json"))["text"] == "Once upon a time"


def test_filters_alone_draw_at_temperature_1(inspect: Any) -> None:
    found = json.loads(inspect(PROMPT, "--top-k", "3", "--json"))["output"]
    assert (found["temperature"], found["num_kept"]) == (1.0, 3)
    assert found["choice"]["draw"] is not None


def test_what_is_cut_is_said(inspect: Any) -> None:
    printed = inspect(PROMPT, "--temperature", "0.5", "--top-k", "2")
    assert len(re.findall(r" cut *$", printed, re.MULTILINE)) == 10
    assert "summed over the 2 kept" in re.sub(r"\s+", " ", printed)
    assert "÷ 0.5" in printed


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["x", "--layer", "7"], "layer is 7. The layers are numbered from 0 to 1."),
        (["x", "--head", "-1"], "head is -1. The heads of a layer are numbered from 0 to 3."),
        (["x", "--position", "1"], "position is 1. The tokens of the prompt are numbered from 0 to 0."),
        ([""], "Nothing to look at yet."),
        (["x", "--temperature", "-1"], "temperature is -1.0."),
        (["x", "--site", "layers.0.attention.wieghts"], "Did you mean 'layers.*.attention.weights'"),
        (["x", "--html", "no/such/folder/a.html"], "cannot be written"),
        (["cat " * 100], "This model reads 96."),
    ],
)
def test_what_is_wrong_is_said_in_one_line(inspect: Any, words: list[str], said: str) -> None:
    error = inspect(*words, code=2)
    assert error.startswith("cutaway inspect: ")
    assert said in error
    assert error.count("\n") == 1


def test_an_unknown_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", "no-such-model"]) == 2
    assert "There is no model 'no-such-model'" in capsys.readouterr().err


def test_sites_list_every_tensor_with_its_bytes(inspect: Any, lm: LM) -> None:
    listed = {site["name"]: site for site in json.loads(inspect(PROMPT, "--sites", "--json"))}
    trace = lm.trace(PROMPT)
    assert list(listed) == trace.names
    for name, tensor in trace.items():
        assert listed[name]["shape"] == list(tensor.shape)
        assert listed[name]["bytes"] == tensor.numel() * tensor.element_size()
    printed = inspect(PROMPT, "--sites")
    assert f"{len(trace)} sites, {trace.num_bytes:,} bytes" in printed


def test_a_site_prints_its_values(inspect: Any, lm: LM) -> None:
    name = "layers.1.attention.weights"
    tensor = lm.trace(PROMPT, sites=name)[name]
    assert torch.equal(torch.tensor(json.loads(inspect(PROMPT, "--site", name, "--json"))[name]), tensor)
    printed = inspect(PROMPT, "--site", name)
    assert f"largest {tensor.max():.4f}" in printed
    assert "[0, 3, 2]  " in printed
    assert f"{tensor[0, 3, 2, 1]:.4f}" in printed
    assert inspect(PROMPT, "--site", "layers.1.attention.scores").count("hidden") > 10


def test_the_card_gives_the_figures_of_cost(inspect: Any, lm: LM) -> None:
    card = json.loads(inspect("--config", "--json"))
    assert (
        card["parameters"]["total"] == cost.num_parameters(lm.config) == sum(p.numel() for p in lm.model.parameters())
    )
    sizes = {"fp32": 4, "bf16": 2, "int8": 1}
    assert card["memory_bytes"] == {name: card["parameters"]["total"] * size for name, size in sizes.items()}
    assert card["cache_bytes_per_token"] == {
        "fp32": 2 * 2 * 16 * 4,
        "bf16": 2 * 2 * 16 * 2,
        "int8": 2 * 2 * (16 + 4 * 4),
    }
    assert card["flops_per_token"] == cost.flops_per_token(lm.config, 96)
    printed = inspect("--config")
    assert f"{card['parameters']['attention']:,}" in printed
    assert "decoder.attention.num_heads" in printed
    assert "…" not in printed
    assert re.search(r"^  fp32 +[\d.]+ kB *$", printed, re.MULTILINE)


def test_the_page_is_written_and_asks_for_nothing(inspect: Any, tmp_path: Path) -> None:
    target = tmp_path / "way.html"
    assert "needs no network" in inspect(PROMPT, "--html", str(target))
    text = target.read_text("utf-8")
    assert not re.search(r"https?:|url\(|@import|<link(?! rel=\"icon\" href=\"data:,\")|\bsrc=", text)
    assert len(text) < 1_000_000


@pytest.mark.parametrize("prompt", [HOSTILE, "\u2028 <xmp>&lt;</xmp> é漢", "]]> --> \\u003c/script>"])
def test_hostile_prompts_are_only_text(lm: LM, prompt: str) -> None:
    text = page(looked(lm, prompt), HOSTILE)
    assert len(re.findall(r"<script", text)) == text.count("</script>") == 2
    assert "<img" not in text
    assert not re.search(r"<xmp|<!--", text)
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)
    assert data is not None
    assert json.loads(data[1])["tokens"] == [token.text for token in looked(lm, prompt).tokens]


def test_script_data_keeps_its_value_and_holds_no_markup() -> None:
    value = {"a": "</script>&\u2028\u2029<!--", "b": [1.5, None]}
    assert json.loads(as_script(value)) == value
    assert not set("<>&\u2028\u2029") & set(as_script(value))


def test_the_page_embeds_the_numbers_of_the_trace(lm: LM) -> None:
    found = looked(lm)
    data = re.search(r'id="data">(.*?)</script>', page(found, "small"), re.DOTALL)
    assert data is not None
    seen = set()
    for figure in json.loads(data[1])["figures"]:
        if figure["rows"] is None:
            continue
        tensor = found.trace[figure["site"]][tuple(figure["at"])][figure["rows"]]
        tensor = tensor if figure["order"] is None else tensor[:, figure["order"]]
        values = torch.tensor(figure["values"]).reshape(len(figure["rows"]), -1)
        assert torch.allclose(values, tensor[:, : values.shape[1]], rtol=1e-4, atol=1e-8)
        seen.add(figure["site"])
    heads = {f"layers.{layer}.attention.weights" for layer in range(2)}
    assert seen >= {"embedding.token", "embedding.position", "embedding.sum", *heads}


def test_a_long_prompt_is_a_page_of_the_last_tokens(lm: LM) -> None:
    text = page(looked(lm, "cat dog " * 40, position=2), "small")
    assert re.search(r"\d+ tokens, of which 0 to 39 are shown; all were read", text)


ROTARY = PositionConfig(kind="rotary")
EXPERTS = FeedForwardConfig(d_hidden=24, experts=ExpertsConfig(num_experts=3, num_active=1))
SHAPES: dict[str, Any] = {
    "rotary": tiny.stack(position=ROTARY, attention=AttentionConfig(num_heads=4, num_kv_heads=1, softcap=2.0)),
    "relative": tiny.stack(position=PositionConfig(kind="relative"), attention=AttentionConfig(num_heads=4, scale=0.7)),
    "experts": tiny.stack(feedforward=EXPERTS, placement="parallel"),
    "deep and wide": tiny.stack(num_layers=11, num_shared=1, attention=AttentionConfig(num_heads=16)),
}


@pytest.mark.parametrize("prompt", ["a", PROMPT], ids=["token", "words"])
@pytest.mark.parametrize("stack", SHAPES.values(), ids=SHAPES)
def test_every_architecture_is_shown(stack: Any, prompt: str) -> None:
    model = tiny.model(tiny.config(decoder=stack, vocab_size=trained("bpe").vocab_size))
    found = way(model, trained("bpe"), prompt)
    console = Console(width=80, record=True, file=io.StringIO(), highlight=False)
    show(found, console, "small")
    printed = " ".join(console.export_text().split())
    assert (
        ("|position|" in page(found, "small"))
        == found.shape.adds_positions
        == (found.shape.position_kind == "sinusoidal")
    )
    assert ("No position is added" in printed) != found.shape.adds_positions
    assert ("The router gives" in printed) == bool(found.units.experts)
    assert ("Score: q · k × " in printed) == (found.head.softcap is not None or found.head.has_bias)


def test_trees_join_what_the_tokenizer_joined(lm: LM) -> None:
    for token in looked(lm).tokens:
        assert tree(token, 512).count("H") == len(token.joins)


def test_scales_run_through_the_colours_of_the_design() -> None:
    for theme, scales in palettes().items():
        for name, colours in scales.items():
            assert [colours[0], colours[len(colours) // 2], colours[-1]] == list(SCALES[theme][name])
    shades = [mixed(SCALES[theme]["share"], step / 10) for theme in SCALES for step in range(21)]
    assert min(contrast(readable_on(shade), shade) for shade in shades) >= 4.5


@pytest.mark.parametrize("colour", [LEARNED, COMPUTED, LOOK, QUIET])
def test_terminal_colours_are_read_on_black_and_on_white(colour: str) -> None:
    assert min(contrast(colour, "#000000"), contrast(colour, "#ffffff")) >= 4.5


SAID = {
    0.19: "19 %",
    0.06: "6.0 %",
    0.0996: "10 %",
    0.004: "0.4 %",
    0.0004: "0.04 %",
    1e-9: "< 0.01 %",
    0: "0 %",
    1: "100 %",
}


@pytest.mark.parametrize(("share", "said"), SAID.items())
def test_chances_are_said_with_two_figures(share: float, said: str) -> None:
    assert wording.chance(share) == said


def test_numbers_have_a_true_minus_and_no_minus_zero() -> None:
    assert [wording.number(value) for value in (-1.5, -0.001, 1234.5)] == ["−1.50", "0.00", "1,234.50"]


def test_the_demo_ends_with_what_to_type(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cutaway.finding.bundled_models", lambda: {"stories": directory})
    target = tmp_path / "demo.html"
    assert main(["demo", "--out", str(target)]) == 0
    printed = capsys.readouterr().out
    assert "Once upon a time" in printed
    assert printed.count("\n  cutaway ") == 5
    assert target.read_text("utf-8").startswith("<!doctype html>")

"""The command line as programs and people use it: output, JSON, stdin, seeds, stops, exit codes, one message for a mistake."""

from __future__ import annotations

import io
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cutaway
from cutaway.apps.cli import COMMANDS, main
from cutaway.apps.cli.train import words_to_try
from cutaway.lm import load
from cutaway.tasks.evaluate import evaluate
from cutaway.train.recipe import load_recipe
from tests.train import runs

Capture = pytest.CaptureFixture[str]
COMMAND_NAMES = [module.__name__.rpartition(".")[2] for module in COMMANDS]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A character model that saw forty short lines."""
    folder = tmp_path_factory.mktemp("run")
    changes = ("training.steps=30", "training.save_every=30", "training.evaluate_every=30", "model.context=32")
    runs.train(runs.recipe(folder, *changes, "optimiser.learning_rate=0.01"), folder / "run")
    return str(folder / "run")


def ask(capsys: Capture, *words: str, code: int = 0) -> str:
    """What a command prints; it ends with this code, and says nothing on stderr when it succeeds."""
    capsys.readouterr()
    assert main(words) == code
    shown = capsys.readouterr()
    assert (shown.err == "") == (code == 0)
    return shown.out if code == 0 else shown.err


def test_the_text_begins_with_the_prompt(run: str, capsys: Capture) -> None:
    shown = ask(capsys, "generate", run, "The cat", "--max-tokens", "10")
    assert shown.startswith("The cat")
    assert shown.endswith("\n")
    assert len(shown) == len("The cat") + 10 + 1


@pytest.mark.parametrize(("max_tokens", "is_full"), [("10", False), ("26", True), ("99", True)])
def test_a_person_is_told_the_speed_and_when_the_model_is_full(
    max_tokens: str, is_full: bool, run: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert main(["generate", run, "The cat", "--max-tokens", max_tokens]) == 0
    told = capsys.readouterr().err
    assert re.match(r"\n\d+ tokens, [\d,]+ tokens/s", told)
    assert ("reads 32 tokens at once" in told) == is_full


def test_json_is_one_object_that_agrees_with_the_text(run: str, capsys: Capture) -> None:
    words = ("generate", run, "The cat", "--max-tokens", "10", "--seed", "3")
    found = json.loads(ask(capsys, *words, "--json"))
    assert found.keys() == {"text", "token_ids", "events"}
    assert found["token_ids"] == [event["new"] for event in found["events"]]
    assert [event["position"] for event in found["events"]] == list(range(7, 17))
    assert all(0 < event["probability"] <= 1 for event in found["events"])
    assert found["text"] == load(run).tokenizer.decode(found["token_ids"])
    assert ask(capsys, *words) == "The cat" + found["text"] + "\n"


def test_the_same_seed_gives_the_same_text(run: str, capsys: Capture) -> None:
    texts = [ask(capsys, "generate", run, "The ", "--max-tokens", "20", "--seed", seed) for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_temperature_0_takes_the_likeliest(run: str, capsys: Capture) -> None:
    texts = {ask(capsys, "generate", run, "The ", "--temperature", "0", "--seed", seed) for seed in ("1", "2", "3")}
    assert len(texts) == 1
    assert texts == {ask(capsys, "generate", run, "The ", "--top-k", "1")}


def test_several_prompts_equal_single_ones(run: str, capsys: Capture) -> None:
    prompts, words = ("The ", "saw ", "cat"), ("--max-tokens", "8", "--temperature", "0")
    singles = [ask(capsys, "generate", run, prompt, *words).removesuffix("\n") for prompt in prompts]
    assert ask(capsys, "generate", run, *prompts, *words) == "\n\n".join(singles) + "\n"
    found = json.loads(ask(capsys, "generate", run, *prompts, *words, "--json"))
    assert [result["prompt"] + result["text"] for result in found["results"]] == singles
    assert all(result.keys() == {"prompt", "text", "token_ids", "events"} for result in found["results"])


def test_a_dash_reads_stdin(run: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = ask(capsys, "generate", run, "The cat\nsaw", "--max-tokens", "5")
    monkeypatch.setattr("sys.stdin", io.StringIO("The cat\nsaw\n"))
    assert ask(capsys, "generate", run, "-", "--max-tokens", "5") == expected


def test_a_stop_ends_the_text_across_token_borders(run: str, capsys: Capture) -> None:
    words = ("generate", run, "The ", "--max-tokens", "20", "--seed", "5")
    whole = json.loads(ask(capsys, *words, "--json"))["text"]
    stop = whole[6:9]  # three tokens of this model
    assert ask(capsys, *words, "--stop", stop, "--stop", "\0") == "The " + whole[: whole.find(stop)] + "\n"
    found = json.loads(ask(capsys, *words, "--stop", stop, "--json"))
    assert found["text"] == whole[: whole.find(stop)]
    assert len(found["token_ids"]) == whole.find(stop) + 3


def test_evaluate_prints_what_the_task_finds(run: str, capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(runs.TEXT[:500], "utf-8")
    found = json.loads(ask(capsys, "evaluate", run, str(tmp_path / "text.txt"), "--json"))
    report = evaluate(load(run), tmp_path / "text.txt")
    assert found == {
        "loss": report.loss,
        "perplexity": report.perplexity,
        "bits_per_byte": report.bits_per_byte,
        "bits_per_character": report.bits_per_byte,
        "tokens": report.tokens,
        "bytes": report.bytes,
        "estimate": "exact",
        "standard_error": None,
    }
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    shown = ask(capsys, "evaluate", run, str(tmp_path / "text.txt"))
    assert f"loss                {report.loss:.4f} nats a token" in shown
    assert f"bits per byte       {report.bits_per_byte:.4f}" in shown


# What is typed, and what the message must say. RUN is the trained run, FOLDER a folder with odd files.
MISTAKES = (
    (("generate", "RUN", "The ", "--max-tokens", "0"), "max_tokens is 0"),
    (("generate", "RUN", "The ", "--temperature", "-1"), "temperature is -1"),
    (("generate", "RUN", "The ", "--top-p", "2"), "top_p is 2"),
    (("generate", "RUN", "The ", "--top-k", "0"), "top_k is 0"),
    (("generate", "RUN", "The ", "--seed", "-1"), "seed is -1"),
    (("generate", "RUN", "The ", "--stop", ""), "A stop string is empty"),
    (("generate", "RUN", "The cat " * 9), "this model's positions end at 32"),
    (("generate", "RUN", "The ", "The cat " * 9), "72 tokens are more than this model reads, 32"),
    (("generate", "RUN", "Ω"), "Ω"),
    (("generate", "Once upon " * 500), "stands where its name belongs"),
    (("translate", "Haus " * 3000), "the encoder reads at most"),
    (("train", "Haus " * 3000), "There is no recipe 'Haus"),
    (("generate", "RUN"), "The prompt is empty"),
    (("generate", "RUN", "caf\udce9"), "not valid UTF-8"),
    (("generate", "RUN", "fine", "caf\udce9"), "not valid UTF-8"),
    (("generate", "nowhere", "The "), "There is no model 'nowhere'"),
    (("generate", "FOLDER", "The "), "is no model"),
    (("generate", "FOLDER/cut", "The "), "model.safetensors is not a whole safetensors file"),
    (("evaluate", "RUN", "FOLDER/nothing.txt"), "does not exist"),
    (("evaluate", "RUN", "FOLDER/empty.txt"), "There is no text"),
    (("evaluate", "RUN", "FOLDER/junk.txt"), "is binary"),
    (("evaluate", "RUN", "FOLDER/one.txt"), "too few"),
    (("evaluate", "RUN", "FOLDER"), "is a folder"),
    (("evaluate", "RUN", "FOLDER/one.txt", "--batch-size", "0"), "batch_size is 0"),
    (("evaluate", "nowhere", "FOLDER/one.txt"), "There is no model"),
    (("train", "nowhere"), "There is no recipe 'nowhere'"),
)


@pytest.fixture(scope="module")
def folder(run: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = tmp_path_factory.mktemp("folder")
    for name, content in {"empty": b"", "junk": b"\x00\x01\x02", "one": b"T"}.items():
        (place / f"{name}.txt").write_bytes(content)
    (place / "cut").mkdir()
    for path in runs.checkpoint(Path(run), 30).iterdir():
        content = path.read_bytes()
        (place / "cut" / path.name).write_bytes(content[:-50] if path.name == "model.safetensors" else content)
    return str(place)


@pytest.mark.parametrize(("words", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_is_one_message(words: tuple[str, ...], message: str, run: str, folder: str, capsys: Capture) -> None:
    typed = [word.replace("FOLDER", folder) if word != "RUN" else run for word in words]
    capsys.readouterr()
    assert main(typed) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"cutaway {words[0]}: ")
    assert message in shown.err
    assert shown.err.rstrip("\n").count("\n") == 0


def test_a_misspelt_model_is_told_the_nearest(capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("cutaway.finding.bundled_models", lambda: {"stories": tmp_path})
    assert "Did you mean 'stories'?" in ask(capsys, "generate", "storys", "Once", code=2)


def test_what_the_system_refuses_is_one_message(run: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", "/secret")

    monkeypatch.setattr("cutaway.lm.load", refuse)
    assert ask(capsys, "generate", run, "a", code=2) == (
        "cutaway generate: The system refused: /secret: Permission denied.\n"
    )


def test_ctrl_c_is_one_line(run: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("cutaway.lm.load", interrupt)
    assert ask(capsys, "generate", run, "a", code=130) == "\nInterrupted.\n"


@pytest.mark.parametrize("name", COMMAND_NAMES)
def test_every_command_has_help_with_an_example(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main([name, "--help"])
    assert caught.value.code == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^example:\n  cutaway {name}\b", shown, re.MULTILINE)


def test_without_a_command_there_is_help(capsys: Capture) -> None:
    shown = ask(capsys)
    assert all(re.search(rf"^    {name} ", shown, re.MULTILINE) for name in COMMAND_NAMES)


def test_the_version_is_that_of_the_package(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"cutaway {cutaway.__version__}\n"


def process(*words: str | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    """`python -m cutaway` in a process of its own."""
    command = [os.fsencode(sys.executable), b"-m", b"cutaway", *(os.fsencode(word) for word in words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, check=False, env=environment, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_the_package_runs_as_a_module_and_a_bad_pipe_is_one_message(run: str) -> None:
    done = process("generate", run, "-", input=b"caf\xe9")
    assert done.returncode == 2
    assert done.stderr.startswith(b"cutaway generate: The prompt is not valid UTF-8.")
    assert done.stderr.count(b"\n") == 1


def test_a_reader_that_leaves_is_no_error(run: str) -> None:
    """`cutaway generate … | head -c 5`: the rest goes nowhere, and nobody complains."""
    code = "import sys; from cutaway.apps.cli import main; sys.exit(main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", code, "generate", run, "The ", "--max-tokens", "27"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as done:
        assert done.stdout is not None
        assert done.stderr is not None
        done.stdout.close()
        assert done.stderr.read() == b""
    assert done.returncode == 0


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ("stories/stories", "generate runs/x 'a cat'"),
        ("translate-de-en/translate-de-en", "translate runs/x 'a cat'"),
        ("scitldr/scitldr", "summarize runs/x FILE"),
        ("scitldr/scitldr-finetune", "summarize runs/x FILE"),
        ("stories-chat/stories-chat", "chat runs/x"),
        ("babi/babi", "answer runs/x --context FILE 'a cat'"),
    ],
)
def test_what_is_suggested_after_training_is_what_the_model_is_for(recipe: str, words: str) -> None:
    path = Path(__file__).parents[2] / "recipes" / f"{recipe}.toml"
    assert words_to_try("runs/x", "'a cat'", load_recipe(str(path), [])) == words

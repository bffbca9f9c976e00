"""lm-evaluation-harness: tasks on a Cutaway model, and on the same checkpoint through its class "hf": equal numbers.

The tasks are made here, offline: multiple choice (scored three ways), perplexity of texts longer than the context, greedy texts.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cutaway.config import PositionConfig, TokenIds
from cutaway.weights import checkpoint
from tests import tiny
from tests.text.samples import DOCUMENTS, trained

pytest.importorskip("lm_eval", reason="lm_eval is not installed")

CONTEXT = 64
TASK = {
    "dataset_path": "json",
    "test_split": "test",
    "doc_to_text": "{{question}}",
}
CHOICE = {
    **TASK,
    "task": "tiny_choice",
    "output_type": "multiple_choice",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [
        {"metric": name, "aggregation": "mean", "higher_is_better": True} for name in ("acc", "acc_norm", "acc_bytes")
    ],
}
ROLLING = {
    **TASK,
    "task": "tiny_rolling",
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{text}}",
    "metric_list": [{"metric": name} for name in ("word_perplexity", "byte_perplexity", "bits_per_byte")],
}
GENERATE = {
    **TASK,
    "task": "tiny_generate",
    "doc_to_text": "{{question or 'A'}}",  # of an empty text, "hf" reads padding
    "output_type": "generate_until",
    "doc_to_target": "{{text}}",
    "generation_kwargs": {"until": ["the", "\n\n"], "max_gen_toks": 12, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}


def documents() -> list[dict[str, Any]]:
    """Questions with and without a space at their end, none at all, one longer than the context; choices that share a start.

    No two texts end alike: of windows with equal tokens, parted at different places, "hf" reads the wrong rows.
    """
    text = " ".join(DOCUMENTS)
    starts = ["Once upon a", "The dog ", "", "Tom said:", text, "the cat and the d", "A dog<|endoftext|>The"]
    choices = ["time", "small cat", "small dog was called Tom", "Été 🙂"]
    return [
        {"question": start, "choices": choices, "answer": number % 4, "text": text[5 * number : len(text) - 7 * number]}
        for number, start in enumerate(starts)
    ]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of random weights whose greedy texts vary, and the tasks beside it."""
    folder = tmp_path_factory.mktemp("harness")
    tokenizer = trained("bpe")
    roles = tokenizer.roles
    config = tiny.config(
        decoder=tiny.stack(position=PositionConfig(kind="learned")),
        vocab_size=tokenizer.vocab_size,
        context=CONTEXT,
        is_tied=True,
        tokens=TokenIds(bos=roles.bos, eos=roles.eos, pad=roles.pad),
    )
    checkpoint.save(folder / "model", tiny.model(config, std=0.5), tokenizer_files=tokenizer.save)
    (folder / "tasks").mkdir()
    data = folder / "documents.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents()), "utf-8")
    for task in (CHOICE, ROLLING, GENERATE):
        whole = {**task, "dataset_kwargs": {"data_files": {"test": str(data)}}}
        # JSON is YAML.
        (folder / "tasks" / f"{task['task']}.yaml").write_text(json.dumps(whole), "utf-8")
    return folder


def evaluated(place: Path, model: Any, task: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    import datasets
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", place / "cache")
    manager = TaskManager(include_path=str(place / "tasks"), include_defaults=False)
    found = simple_evaluate(
        model=model,
        model_args=None if not isinstance(model, str) else f"pretrained={place / 'model'}",
        tasks=[task],
        task_manager=manager,
        batch_size=4,
        device="cpu",
        bootstrap_iters=0,
    )
    assert found is not None
    return found


def theirs(place: Path) -> Any:
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=str(place / "model"), dtype="float32", device="cpu", batch_size=4)


def answers(found: dict[str, Any], task: str) -> list[Any]:
    """What the model answered to each request, in the order of the documents."""
    samples = sorted(found["samples"][task], key=lambda sample: sample["doc_id"])
    return [[response[0] for response in sample["resps"]] for sample in samples]


@pytest.mark.parametrize("task", ["tiny_choice", "tiny_rolling", "tiny_generate"])
def test_the_numbers_are_those_of_the_class_hf(task: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import cutaway.tasks.harness  # noqa: F401 (registers the class)

    ours, wanted = (evaluated(place, model, task, monkeypatch) for model in ("cutaway", theirs(place)))
    assert ours["results"][task].keys() == wanted["results"][task].keys()
    for name, value in wanted["results"][task].items():
        assert ours["results"][task][name] == (pytest.approx(value, rel=1e-5) if isinstance(value, float) else value)
    one, other = answers(ours, task), answers(wanted, task)
    assert len(one) == len(documents())
    if task == "tiny_generate":
        assert one == other
        assert len({text for (text,) in one}) > 3
    elif task == "tiny_rolling":
        assert one == [pytest.approx(each, rel=1e-5) for each in other]
    else:
        for mine, yours in zip(one, other, strict=True):
            assert [is_greedy for _, is_greedy in mine] == [is_greedy for _, is_greedy in yours]
            assert [log_p for log_p, _ in mine] == pytest.approx([log_p for log_p, _ in yours], rel=1e-5)


def test_greedy_continuations_are_known_as_such(place: Path) -> None:
    from lm_eval.api.instance import Instance

    from cutaway.tasks.harness import Harness

    ours, contexts = Harness(str(place / "model")), [document["question"] for document in documents()]
    asked = [
        Instance("generate_until", {}, (context, {"max_gen_toks": 3}), 0) for context in contexts if context.strip()
    ]
    texts = ours.generate_until(asked)
    requests = [Instance("loglikelihood", {}, (each.args[0], text), 0) for each, text in zip(asked, texts, strict=True)]
    found = ours.loglikelihood(requests)
    wanted = theirs(place).loglikelihood(requests, disable_tqdm=True)
    assert [is_greedy for _, is_greedy in found] == [is_greedy for _, is_greedy in wanted]
    assert any(is_greedy for _, is_greedy in found)
    assert [log_p for log_p, _ in found] == pytest.approx([log_p for log_p, _ in wanted], rel=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"max_gen_toks": CONTEXT}, "asks for 64 new tokens"), ({"num_beams": 4}, "sets 'num_beams', which is unknown")],
)
def test_settings_that_cannot_be_kept_are_refused(settings: dict[str, Any], message: str, place: Path) -> None:
    from lm_eval.api.instance import Instance

    from cutaway.errors import CutawayError
    from cutaway.tasks.harness import Harness

    with pytest.raises(CutawayError, match=message):
        Harness(str(place / "model")).generate_until([Instance("generate_until", {}, ("The", settings), 0)])

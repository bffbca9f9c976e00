"""The class for lm-evaluation-harness, on a stub of what it asks for; `tests/peers` runs the harness itself."""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import pytest

from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.tasks.score import likelihoods, rolling
from cutaway.text import train_tokenizer
from tests import tiny

MODULE = "cutaway.tasks.harness"


@dataclass(frozen=True)
class Request:
    args: tuple[Any, ...]


@dataclass
class Cache:
    kept: list[tuple[Any, ...]] = field(default_factory=list)

    def add_partial(self, *entry: Any) -> None:
        self.kept.append(entry)


class Base:
    def __init__(self) -> None:
        self.cache_hook = Cache()


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model of bytes behind the class, over a stub of the harness."""
    registered: dict[str, type] = {}
    stubs = {name: ModuleType(name) for name in ("lm_eval", "lm_eval.api", "lm_eval.api.model", "lm_eval.api.registry")}
    stubs["lm_eval.api.model"].LM = Base  # type: ignore[attr-defined]
    stubs["lm_eval.api"].model = stubs["lm_eval.api.model"]  # type: ignore[attr-defined]
    stubs["lm_eval.api.registry"].register_model = (  # type: ignore[attr-defined]
        lambda name: lambda cls: registered.setdefault(name, cls)
    )
    for name, stub in stubs.items():
        monkeypatch.setitem(sys.modules, name, stub)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    importlib.import_module(MODULE)
    monkeypatch.delitem(sys.modules, MODULE)
    tokenizer = train_tokenizer("byte", [])
    config = tiny.config(vocab_size=tokenizer.vocab_size, embedding_scale=5.0)
    return registered["cutaway"](LM(tiny.model(config, seed=4), tokenizer, "bytes"))


def requests(*args: tuple[Any, ...]) -> list[Request]:
    return [Request(each) for each in args]


def test_likelihoods_are_those_of_score(model: Any) -> None:
    pairs = [("The", " cat"), ("", "dog"), ("x" * 90, "yz")]
    found = model.loglikelihood(requests(*pairs))
    assert found == [(each.log_p, each.is_greedy) for each in likelihoods(model.lm, pairs)]
    assert model.cache_hook.kept == [("loglikelihood", pair, answer) for pair, answer in zip(pairs, found, strict=True)]
    texts = ["The cat " * 9, "a"]
    assert model.loglikelihood_rolling(requests(*((text,) for text in texts))) == rolling(model.lm, texts)


def test_texts_end_before_their_stop_and_keep_their_order(model: Any) -> None:
    long, short = {"max_gen_toks": 8}, {"max_gen_toks": 3, "until": []}
    asked = [("The", long), ("A", short), ("And then", long)]
    whole = model.generate_until(requests(*asked))
    singles = [model.lm.generate(context, max_tokens=settings["max_gen_toks"]) for context, settings in asked]
    assert whole == singles
    assert len(set(whole)) == 3
    stop = whole[0][2]
    (stopped,) = model.generate_until(requests(("The", {**long, "until": stop})))
    assert stopped == whole[0][: whole[0].index(stop)]


def test_of_a_long_context_the_end_is_read(model: Any) -> None:
    (found,) = model.generate_until(requests(("x" * 90 + "abc", {"max_gen_toks": 8})))
    assert found == model.lm.generate("x" * 37 + "abc", max_tokens=8)


def test_what_is_drawn_depends_on_its_seed(model: Any) -> None:
    settings = {"max_gen_toks": 8, "do_sample": True, "temperature": 1.0, "top_k": 20}
    texts = [model.generate_until(requests(("The", {**settings, "seed": seed})))[0] for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    cold = model.generate_until(requests(("The", {**settings, "do_sample": False})))
    assert cold == [model.lm.generate("The", max_tokens=8)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_gen_toks": 48}, "asks for 48 new tokens, and the model reads 48"),
        ({"num_beams": 4}, "sets 'num_beams', which is unknown"),
        ({"temperatur": 1}, "Did you mean 'temperature'"),
    ],
)
def test_settings_that_cannot_be_kept_are_refused(settings: dict[str, Any], message: str, model: Any) -> None:
    with pytest.raises(CutawayError) as caught:
        model.generate_until(requests(("The", settings)))
    assert message in str(caught.value)


def test_a_model_without_a_template_has_no_conversations(model: Any) -> None:
    assert model.chat_template(True) == ""
    assert model.tokenizer_name.startswith("bytes ")
    with pytest.raises(CutawayError, match="'bytes' has no chat template"):
        model.apply_chat_template([{"role": "user", "content": "a"}])


def test_without_the_harness_the_message_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.api", None)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)
    with pytest.raises(CutawayError, match="pip install 'lm_eval"):
        importlib.import_module(MODULE)

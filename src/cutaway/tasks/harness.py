"""Cutaway for EleutherAI's lm-evaluation-harness. In: its requests. Out: likelihoods and texts, as its class "hf" answers them.

    python -m cutaway.tasks.harness --model cutaway --model_args pretrained=stories --tasks lambada_openai

Importing this module registers the class "cutaway" and needs lm_eval (`pip install lm_eval`); nothing else here imports it.
Prompts of the harness may hold special tokens, spelled: they are those tokens, as with "hf".
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..decode import Sampling
from ..errors import CutawayError, near
from ..lm import LM, load
from .score import begun, likelihoods, rolling

try:
    from lm_eval.api import model as harness
    from lm_eval.api.registry import register_model
except ImportError as error:
    raise CutawayError(
        "The class for lm-evaluation-harness needs the package lm_eval, which is not installed. Install it:  "
        "pip install 'lm_eval>=0.4.9'"
    ) from error

LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")
KNOWN = ("until", "do_sample", "temperature", "top_k", "top_p", "seed")
MOST_NEW = 256


@register_model("cutaway")
class Harness(harness.LM):  # type: ignore[misc]  # the harness has no types
    """A model for the harness."""

    def __init__(self, pretrained: str | LM, *, max_length: int | str | None = None, **_: Any) -> None:
        """pretrained: a directory, a .gguf file, a bundled name, or an opened model. max_length: tokens read at once.

        Other settings of the harness (batch_size, device, dtype …) are taken and have no say: results do not depend on them.
        """
        super().__init__()
        self.lm = pretrained if isinstance(pretrained, LM) else load(pretrained)
        self.max_length = self.lm.config.context if max_length is None else int(max_length)

    def loglikelihood(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:  # noqa: ARG002 (the harness calls so)
        """Σ log p of each continuation given its context, and whether greedy decoding gives it."""
        found = likelihoods(self.lm, [request.args for request in requests], max_length=self.max_length, specials=True)
        answers = [(each.log_p, each.is_greedy) for each in found]
        self._remember("loglikelihood", requests, answers)
        return answers

    def loglikelihood_rolling(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[float]:  # noqa: ARG002 (the harness calls so)
        """Σ log p of each text."""
        answers = rolling(self.lm, [request.args[0] for request in requests], max_length=self.max_length, specials=True)
        self._remember("loglikelihood_rolling", requests, answers)
        return answers

    def generate_until(self, requests: Sequence[Any], disable_tqdm: bool = False) -> list[str]:  # noqa: ARG002 (the harness calls so)
        """The text behind each context up to a stop; requests with equal settings share their passes."""
        alike: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            alike.setdefault(json.dumps(request.args[1], sort_keys=True), []).append(index)
        answers = [""] * len(requests)
        for settings, indices in alike.items():
            texts = self._generate([requests[index].args[0] for index in indices], json.loads(settings))
            for index, text in zip(indices, texts, strict=True):
                answers[index] = text
        self._remember("generate_until", requests, answers)
        return answers

    @property
    def tokenizer_name(self) -> str:
        """By what the harness tells cached requests apart."""
        return f"{self.lm.name} {self.lm.tokenizer.fingerprint()}".replace("/", "__")

    def chat_template(self, chat_template: bool | str = False) -> str:
        """The source of the model's template, "" without one."""
        template = self.lm.chat_template if chat_template else None
        return "" if template is None else template.source

    def apply_chat_template(self, chat_history: list[dict[str, str]], add_generation_prompt: bool = True) -> str:
        """A conversation as the text that the model was trained on."""
        template = self.lm.chat_template
        if template is None:
            raise CutawayError(f"'{self.lm.name}' has no chat template. Run the task without --apply_chat_template.")
        return template.render(chat_history, add_generation_prompt=add_generation_prompt)

    def _generate(self, contexts: list[str], settings: Mapping[str, Any]) -> list[str]:
        for key in settings:
            if key not in (*KNOWN, *LIMITS):
                raise CutawayError(f"The task sets '{key}', which is unknown here.{near(key, (*KNOWN, *LIMITS))}")
        most_new = next((settings[key] for key in LIMITS if settings.get(key) is not None), MOST_NEW)
        room = self.max_length - most_new
        if room < 1:
            raise CutawayError(
                f"The task asks for {most_new} new tokens, and the model reads {self.max_length}. Set max_gen_toks lower."
            )
        until = settings.get("until") or []
        return self.lm.generate_batch(
            [begun(self.lm, context, specials=True)[-room:] for context in contexts],
            max_tokens=most_new,
            sampling=_sampling(settings),
            stop=[until] if isinstance(until, str) else [stop for stop in until if stop],
        )

    def _remember(self, kind: str, requests: Sequence[Any], answers: Sequence[Any]) -> None:
        """For the harness's cache of answers."""
        for request, answer in zip(requests, answers, strict=True):
            self.cache_hook.add_partial(kind, request.args, answer)


def _sampling(settings: Mapping[str, Any]) -> Sampling:
    is_drawn = bool(settings.get("do_sample", settings.get("temperature", 0) > 0))
    if not is_drawn:
        return Sampling(temperature=0)
    names = ("temperature", "top_k", "top_p", "seed")
    return Sampling(**{name: settings[name] for name in names if settings.get(name) is not None})


def main() -> None:
    """The harness's own command line, with the class "cutaway" in it."""
    from lm_eval.__main__ import cli_evaluate

    cli_evaluate()


if __name__ == "__main__":
    main()

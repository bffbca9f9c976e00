"""The libraries of the metrics, which nothing else needs. In: nothing. Out: the library, or one message with the command."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from ...errors import CutawayError


def sacrebleu_metrics() -> Any:
    """sacrebleu's metrics. Raises CutawayError where it is not installed."""
    try:
        import sacrebleu.metrics
    except ImportError as error:
        raise _missing("BLEU and chrF need", "sacrebleu") from error
    return sacrebleu.metrics


def rouge_scorer(names: list[str]) -> tuple[Any, str]:
    """A scorer with Porter's stemmer, and the version of its library. Raises CutawayError where it is not installed."""
    try:
        from importlib.metadata import version

        from nltk.stem.porter import PorterStemmer
        from rouge_score.rouge_scorer import RougeScorer
        from rouge_score.tokenize import tokenize
    except ImportError as error:
        raise _missing("ROUGE needs", "rouge-score") from error
    return RougeScorer(names, tokenizer=_Words(tokenize, PorterStemmer())), version("rouge-score")


class _Words:
    """The library's own tokenizer, but each word is stemmed once: most of the time goes there."""

    def __init__(self, cut: Callable[[str, Any], list[str]], stemmer: Any) -> None:
        self._cut = cut
        self.stem = cache(stemmer.stem)

    def tokenize(self, text: str) -> list[str]:
        """A text in stemmed words."""
        return self._cut(text, self)


def _missing(needs: str, package: str) -> CutawayError:
    return CutawayError(
        f"{needs} the package {package}, which is not installed. Install it:  pip install 'cutaway[evaluate]'"
    )

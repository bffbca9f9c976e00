"""What stands around every text. In: a tokenizer.json, or a library tokenizer. Out: whether a token begins or ends it; or it set.

Our sessions add nothing by this; it is kept for the other programs that read what we write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tokenizers import Tokenizer as Library
from tokenizers import processors

AROUND = ("BertProcessing", "RobertaProcessing")
State = Mapping[str, Any]


def has_frame(state: State) -> tuple[bool, bool]:
    """Whether a special token is put before a text, and behind it."""
    if any(step["type"] in AROUND for step in _steps(state["post_processor"])):
        return True, True
    template: list[State] = next((step["single"] for step in _steps(state["post_processor"]) if "single" in step), [])
    begins, ends = template[:1], template[-1:]
    return any("SpecialToken" in item for item in begins), any("SpecialToken" in item for item in ends)


def set_frame(library: Library, begin: str | None, end: str | None) -> None:
    """Put these tokens around every text."""
    before, after = ([] if token is None else [token] for token in (begin, end))
    around = {token: library.token_to_id(token) for token in (*before, *after)}
    if around:
        library.post_processor = processors.TemplateProcessing(
            single=[*before, "$A", *after],
            pair=[*before, "$A", *after, "$B:1", *(f"{token}:1" for token in after)],
            special_tokens=list(around.items()),
        )


def _steps(state: State | None) -> list[State]:
    if state is None:
        return []
    return list(state["processors"]) if state["type"] == "Sequence" else [state]

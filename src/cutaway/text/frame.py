"""What stands around a text, or around two. In: a tokenizer.json, or a library tokenizer. Out: the tokens there; or it set.

Our sessions add nothing by this; it is kept for the other programs that read what we write.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from tokenizers import Tokenizer as Library
from tokenizers import processors

AROUND = ("BertProcessing", "RobertaProcessing")
State = Mapping[str, Any]


class PairFrame(NamedTuple):
    """The ids around two texts that are read as one. types: of the five parts in order."""

    before: tuple[int, ...]
    between: tuple[int, ...]
    after: tuple[int, ...]
    types: tuple[int, int, int, int, int]

    @property
    def num_tokens(self) -> int:
        """How many tokens are of neither text."""
        return len(self.before) + len(self.between) + len(self.after)


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


def read_pair_frame(library: Library) -> PairFrame:
    """What the library puts around two texts. Types of a part without tokens are those of the text before it."""
    found = library.encode("a", "a")
    texts = [[place for place, text in enumerate(found.sequence_ids) if text == number] for number in (0, 1)]
    if not all(texts):
        return PairFrame((), (), (), (0, 0, 0, 0, 0))
    (begin, *_, end), (other_begin, *_, other_end) = ([*places, places[-1] + 1] for places in texts)
    borders = ((0, begin), (begin, end), (end, other_begin), (other_begin, other_end), (other_end, len(found.ids)))
    types = [0, 0, 0, 0, 0]
    for part, (start, stop) in enumerate(borders):
        types[part] = found.type_ids[start] if stop > start else types[max(part - 1, 0)]
    before, _, between, _, after = (tuple(found.ids[start:stop]) for start, stop in borders)
    return PairFrame(before, between, after, (types[0], types[1], types[2], types[3], types[4]))


def _steps(state: State | None) -> list[State]:
    if state is None:
        return []
    return list(state["processors"]) if state["type"] == "Sequence" else [state]

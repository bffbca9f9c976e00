"""Texts that drafting decoders are measured on, and a text with its time. In: the data of stories. Out: stories; ids, seconds.

Used by stories/speculate.py and stories-hybrid/measure.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from cutaway.data import Source, read_documents
from cutaway.decode import Sampling, Session, Way
from cutaway.lm import LM

DATA = Path(__file__).parent / "stories" / "data"


def held_out_stories() -> Iterator[str]:
    """Stories never trained on."""
    return read_documents(Source(files=str(DATA / "stories.heldout.jsonl")))


def decoded(
    lm: LM, prompt: Sequence[int], way: Way, sampling: Sampling, max_tokens: int, session: Session | None = None
) -> tuple[list[int], float]:
    """The ids that are said behind a prompt, and the seconds that it took. session: an empty one, None for a usual one."""
    pieces = list(lm.stream(prompt, max_tokens=max_tokens, sampling=sampling, way=way, session=session))
    tokens = [piece.event.new for piece in pieces if piece.event is not None and piece.event.is_final]
    return [token for token in tokens if token is not None], lm.figures.seconds

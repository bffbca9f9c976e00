"""What a page may ask, checked. In: a JSON object or the query of an address. Out: a frozen dataclass, or one clear error."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, Literal, TypeVar, get_args, get_type_hints

from ...errors import CutawayError, near
from ...lens.attending import Block
from ...strict import build

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class AskRun:
    """One text through one model. model: a name, None for the one that was opened. target: what an encoder-decoder says; None:
    what it says by itself. positions: whether tokens can tell their place. edits: as of `lm.trace`. more: ids that stand behind
    those of the text (of the target, where there is one), exactly as they are.
    """

    text: str
    model: str | None = None
    target: str | None = None
    positions: bool = True
    edits: tuple[Any, ...] = ()
    more: tuple[int, ...] = ()

    @property
    def name(self) -> str:
        """A hash of all of it: equal asks have equal names, on every machine and after every restart."""
        return sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]

    @property
    def request(self) -> dict[str, Any]:
        """The same as a mapping that asks for it."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class AskTensor:
    """A matrix of a site. index: the axes before the last two (a head), rows, columns: begin:end. level: squares of 2^level."""

    run: str
    site: str
    index: str = ""
    rows: str = ""
    columns: str = ""
    level: int = 0


@dataclass(frozen=True, kw_only=True)
class AskToken:
    """A token of a run."""

    run: str
    token: int
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class AskPosition(AskToken):
    """How a token's place reaches the model. table: whether its table is wanted, the same for every token."""

    table: bool = True


@dataclass(frozen=True, kw_only=True)
class AskSays:
    """The logit lens of some rows, begin and end."""

    run: str
    rows: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class AskEmbedding:
    """The nearest words of a token."""

    run: str
    token: int
    stack: str = ""
    count: int = 8


@dataclass(frozen=True, kw_only=True)
class AskHead:
    """One query of one head."""

    run: str
    layer: int
    head: int
    token: int
    stack: str = ""
    block: Block = "attention"


@dataclass(frozen=True, kw_only=True)
class AskUnit:
    """One hidden unit for one token; unit None: the one that writes most."""

    run: str
    layer: int
    token: int
    unit: int | None = None
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class AskRollout:
    """Where the vector of a token in a column came from."""

    run: str
    token: int
    column: int
    stack: str = ""


@dataclass(frozen=True, kw_only=True)
class AskWhy:
    """What pushed the logit of a word behind a token; against: another word, whose logit is taken away."""

    run: str
    token: int
    word: int
    against: int | None = None


@dataclass(frozen=True, kw_only=True)
class AskGenerate:
    """A generation behind a run. sampling: what `decode.Sampling` takes; of the decoder beam, what `decode.Beam` takes.

    decoder: None for the one that the model was trained for. settings: what `decode.Denoising` (diffusion), `decode.Drafting`
    (hybrid), `decode.Lookup` (lookup) or `DraftModel` (draft) take.
    """

    run: str
    sampling: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int = 40
    decoder: Literal["autoregressive", "beam", "diffusion", "hybrid", "lookup", "draft"] | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DraftModel:
    """The settings of the decoder draft. model: by name; num_drafts: how far ahead it guesses."""

    model: str
    num_drafts: int = 4


@dataclass(frozen=True, kw_only=True)
class AskMemory:
    """Bytes for each token. bits: of a weight; cache_bits: of a cached number, None: as many, and at least 16.

    batch: texts that are generated together; context: tokens before, None: as many as the model reads.
    """

    model: str | None = None
    bits: int = 32
    cache: bool = True
    cache_bits: int | None = None
    batch: int = 1
    context: int | None = None


@dataclass(frozen=True, kw_only=True)
class AskSpeed:
    """How fast a model writes. bits: of a weight. context: tokens before, None: as many as are measured at the most."""

    model: str | None = None
    bits: int = 32
    context: int | None = None


@dataclass(frozen=True, kw_only=True)
class AskModel:
    """A model by name, None for the one that was opened."""

    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class AskSave:
    """A run as one file. state: the address of what the page shows first; asked: names of answers that it is to hold, too."""

    run: str
    state: str = ""
    asked: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AskLesson:
    """A lesson by name. model: None for the one that it is written for. settings: what is changed in its experiment."""

    name: str
    model: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class AskNothing:
    """An ask without settings."""


def of_json(kind: type[T], body: bytes) -> T:
    """The ask that a body holds."""
    try:
        data = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise CutawayError(f"The request is no JSON ({error}). Send one object.") from None
    if not isinstance(data, Mapping):
        raise CutawayError(f"The request is {type(data).__name__}, not an object. Send one object with named values.")
    return build(kind, data)


def of_query(kind: type[T], query: Mapping[str, str]) -> T:
    """The ask that the query of an address holds: texts become what its fields take."""
    hints, names = get_type_hints(kind), [each.name for each in fields(kind)]  # type: ignore[arg-type]
    for name in query:
        if name not in names:
            raise CutawayError(f"Unknown key '{name}'.{near(name, names)}")
    return build(kind, {name: _value(name, hints[name], text) for name, text in query.items()})


def _value(name: str, hint: Any, text: str) -> Any:
    kinds = get_args(hint) or (hint,)
    if bool in kinds:
        if text not in ("true", "false"):
            raise CutawayError(f"{name} is '{text}'. It takes true or false.")
        return text == "true"
    for kind, what in ((int, "a whole number"), (float, "a number")):
        if kind in kinds:
            try:
                return kind(text)
            except ValueError:
                raise CutawayError(f"{name} is '{text:.40}'. It takes {what}.") from None
    return text

"""How likely a model holds a text. In: contexts and continuations. Out: Σ log p of each, and whether greedy decoding gives it.

    log p(continuation | context) = Σ_t log p(y_t | context, y_<t)

A context runs once, however many continuations it has: they go on from forks of its session, several sessions in one row. Of an
encoder-decoder, the encoder reads the context. Texts are cut into context and continuation as lm-evaluation-harness does it: both
are encoded as one text, and what the context alone takes is the context; white space at its end belongs to the continuation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal, TypeAlias, TypeVar, get_args

import torch
from torch import Tensor

from ..decode import Session, Step
from ..decode.autoregressive import start_ids
from ..decode.pack import execute
from ..errors import CutawayError, near
from ..lm import LM
from ..model import Transformer

Item = TypeVar("Item")
Ids: TypeAlias = Sequence[int]
Key: TypeAlias = tuple[int, ...]
Normalise: TypeAlias = Literal["none", "characters", "bytes", "tokens"]
ROW_TOKENS: Final = 2048


@dataclass(frozen=True, slots=True)
class Likelihood:
    """log_p: nats, of all tokens together. is_greedy: whether each token is the likeliest in its place."""

    log_p: float
    num_tokens: int
    is_greedy: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """index: of the choice with the largest score, the first of equal ones. scores: normalised, one for each choice."""

    index: int
    scores: tuple[float, ...]
    likelihoods: tuple[Likelihood, ...]


def likelihoods(
    lm: LM, pairs: Sequence[tuple[str, str]], *, max_length: int | None = None, specials: bool = False
) -> list[Likelihood]:
    """The likelihood of each continuation given its context, in the order of the pairs.

    pairs: (context, continuation); behind an empty context stands the id that begins a text. max_length: tokens that the model
    reads at once, its context if None; of a longer context the end is read. specials: whether the spelling of a special token
    is that token. Raises CutawayError for a continuation that is empty or longer, and for a model that predicts no next token.
    """
    refuse_other_models(lm)
    limit = lm.config.context if max_length is None else max_length
    encoded = [encode_pair(lm, context, continuation, specials) for context, continuation in pairs]
    return score_ids(lm.model, encoded if lm.config.has_cross else [fit(*pair, limit) for pair in encoded])


def multiple_choice(
    lm: LM,
    questions: Sequence[tuple[str, Sequence[str]]],
    *,
    normalise: Normalise = "none",
    separator: str = " ",
) -> list[Choice]:
    """The likeliest choice of each question: (context, choices).

    normalise: by what Σ log p of a choice is divided: nothing (the harness's acc), its characters (acc_norm), its UTF-8 bytes
    (acc_bytes) or its tokens. separator: between context and choice; it is scored too, and not counted. Raises CutawayError for
    a question without choices or with an empty one, and as `likelihoods`.
    """
    if normalise not in get_args(Normalise):
        raise CutawayError(f"There is no normalisation '{normalise}'.{near(normalise, get_args(Normalise))}")
    if any(not choices or "" in choices for _, choices in questions):
        raise CutawayError("A question has no choices, or an empty one. Give each at least one text to choose.")
    pairs = [(context, separator + choice) for context, choices in questions for choice in choices]
    found = iter(likelihoods(lm, pairs))
    return [_chosen(choices, [next(found) for _ in choices], normalise) for _, choices in questions]


def rolling(lm: LM, texts: Sequence[str], *, max_length: int | None = None, specials: bool = False) -> list[float]:
    """Σ log p of each whole text, each token predicted once: in windows, of which the last reads as far back as it can.

    max_length, specials: as in `likelihoods`. Raises CutawayError for an encoder-decoder, and as `likelihoods`.
    """
    refuse_other_models(lm)
    if lm.config.has_cross:
        raise CutawayError(f"'{lm.name}' reads a source first, so a text alone has no likelihood. Use `likelihoods`.")
    limit = lm.config.context if max_length is None else max_length
    split = [list(windows(begun(lm, text, specials), prefix_id(lm), limit)) for text in texts]
    found = iter(score_ids(lm.model, [pair for pairs in split for pair in pairs]))
    return [sum(next(found).log_p for _ in pairs) for pairs in split]


def score_ids(
    model: Transformer, pairs: Sequence[tuple[Ids, Ids]], *, row_tokens: int = ROW_TOKENS
) -> list[Likelihood]:
    """As `likelihoods`, of ids, none of them cut off. row_tokens: about so many in one pass.

    Raises CutawayError for an empty context or continuation, and as `Session.extend`. Slow twin: one pass for each pair.
    """
    for context, continuation in pairs:
        if not context or not continuation:
            raise CutawayError(
                "A context or a continuation has no ids, and nothing follows from nothing. Give at least one."
            )
        if not 0 <= continuation[-1] < model.config.vocab_size:  # the only id that no pass reads
            raise CutawayError(
                f"The id {continuation[-1]} is outside the vocabulary of {model.config.vocab_size:,} ids."
            )
    groups: dict[Key, dict[Key, list[int]]] = {}
    for index, (context, continuation) in enumerate(pairs):
        # Continuations of one context that differ in their last id only are one step.
        groups.setdefault(tuple(context), {}).setdefault(tuple(continuation[:-1]), []).append(index)
    found: dict[int, Likelihood] = {}
    for contexts in _parts(sorted(groups, key=len), len, row_tokens):  # of like lengths together
        with torch.inference_mode():
            for branch, logits in _branches(
                model, {context: list(groups[context]) for context in contexts}, row_tokens
            ):
                for index in groups[branch.context][branch.inner]:
                    found[index] = _likelihood(logits, pairs[index][1])
    return [found[index] for index in range(len(pairs))]


def encode_pair(lm: LM, context: str, continuation: str, specials: bool = False) -> tuple[Ids, Ids]:
    """The ids of a context and of what follows it; where both melt into one token, each is encoded by itself.

    specials: as in `likelihoods`. Raises CutawayError where nothing follows.
    """
    encode = partial(lm.tokenizer.encode, specials=specials)
    if lm.config.has_cross:
        before, after = begun(lm, context, specials), encode(continuation)
    else:
        bare = context.rstrip()
        rest = context[len(bare) :] + continuation
        if bare:
            before = begun(lm, bare, specials)
            after = begun(lm, bare + rest, specials)[len(before) :] or encode(rest)
        else:
            before, after = [prefix_id(lm)], encode(rest)
            after = after[1:] if after[:1] == before else after
    if not after:
        raise CutawayError(f"The continuation {continuation!r:.60} adds no token to its context. Give at least one.")
    return before, after


def begun(lm: LM, text: str, specials: bool) -> list[int]:
    """The ids of a text as `LM.ids` gives them; with special tokens, what begins every text is not put before itself."""
    if not specials:
        return lm.ids(text)
    (before, after), ids = lm.tokenizer.frame, lm.tokenizer.encode(text, specials=True)
    return [
        *(() if tuple(ids[: len(before)]) == before else before),
        *ids,
        *(() if lm.config.encoder is None else after),
    ]


def fit(context: Ids, continuation: Ids, limit: int) -> tuple[Ids, Ids]:
    """The end of the context that a model of `limit` positions can read; the last id of the continuation is not read."""
    room = limit + 1 - len(continuation)
    if room < 1:
        raise CutawayError(
            f"A continuation has {len(continuation):,} tokens, and the model reads {limit:,}. Shorten it."
        )
    return context[-room:], continuation


def windows(ids: Ids, prefix_id: int, limit: int) -> Iterator[tuple[Ids, Ids]]:
    """Pairs for `score_ids` whose continuations are `ids`, each once; the last pair's context reaches back as far as it can."""
    row = [prefix_id, *ids]
    for start in range(0, len(ids), limit):
        end = min(start + limit, len(ids))
        yield row[max(0, end - limit) : start + 1], row[start + 1 : end + 1]


def prefix_id(lm: LM) -> int:
    """What stands before a text that nothing precedes: bos, or eos without one. Raises CutawayError where both are missing."""
    roles = lm.tokenizer.roles
    found = roles.eos if roles.bos is None else roles.bos
    if found is None:
        raise CutawayError(f"'{lm.name}' has no id that begins a text, so a text needs a context. Give one.")
    return found


def refuse_other_models(lm: LM) -> None:
    """Raises CutawayError for a model that predicts no next token."""
    if not lm.config.says_next:
        raise CutawayError(f"'{lm.name}' does not predict a text from left to right, so it gives no likelihood of one.")


@dataclass(frozen=True, slots=True)
class _Branch:
    """A continuation without its last id, `inner`, behind a context. last: what of the context its step still reads."""

    session: Session
    context: Key
    last: Ids
    inner: Key

    @property
    def size(self) -> int:
        """How many keys and values its session will hold."""
        return len(self.context) + len(self.inner)

    def step(self) -> Step:
        """Reads the logits behind the context and behind every id of `inner`, in a twin of the session."""
        end = len(self.last) + len(self.inner)
        return Step(self.session.fork(), [*self.last, *self.inner], read=range(len(self.last) - 1, end))


def _branches(
    model: Transformer, inners: Mapping[Key, Sequence[Key]], row_tokens: int
) -> Iterator[tuple[_Branch, Tensor]]:
    """Every branch of every context with its logits [read, vocab]."""
    first: list[Step] = []
    branches: list[_Branch] = []
    for context, each in inners.items():
        if model.config.has_cross:
            session = Session(model, source_ids=context)
            last: Ids = start_ids(session)
        else:
            session, last = Session(model), context if len(each) == 1 else context[-1:]
            if len(last) < len(context):
                first.append(Step(session, context[:-1], read="none"))
        branches += [_Branch(session, context, last, inner) for inner in each]
    execute(first)
    for part in _parts(branches, lambda branch: branch.size, row_tokens):
        logits, _ = execute([branch.step() for branch in part])
        yield from zip(part, logits, strict=True)


def _parts(items: Sequence[Item], size: Callable[[Item], int], most: int) -> Iterator[list[Item]]:
    """Runs of items whose sizes together are at most `most`, or of one item."""
    part: list[Item] = []
    total = 0
    for item in items:
        if part and total + size(item) > most:
            yield part
            part, total = [], 0
        part.append(item)
        total += size(item)
    if part:
        yield part


def _likelihood(logits: Tensor, continuation: Ids) -> Likelihood:
    """logits: [read, vocab], one row for each id."""
    wide = logits if logits.dtype.itemsize >= 4 else logits.float()
    targets = torch.tensor(list(continuation), device=logits.device)
    nats = wide.gather(-1, targets[:, None])[:, 0] - wide.logsumexp(-1)
    is_greedy = bool((wide.argmax(-1) == targets).all())
    return Likelihood(float(nats.double().sum()), len(continuation), is_greedy)


def _chosen(choices: Sequence[str], found: list[Likelihood], normalise: Normalise) -> Choice:
    sizes = {
        "none": [1] * len(choices),
        "characters": [len(choice) for choice in choices],
        "bytes": [len(choice.encode()) for choice in choices],
        "tokens": [each.num_tokens for each in found],
    }
    scores = tuple(each.log_p / size for each, size in zip(found, sizes[normalise], strict=True))
    return Choice(scores.index(max(scores)), scores, tuple(found))

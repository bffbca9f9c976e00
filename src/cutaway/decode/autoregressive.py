"""One token after another. In: a session and a prompt. Out: a commit event per token, each drawn given all before it.

p(x) = ∏ p(x_t | x_<t):  the prompt runs in one pass, then every token costs one pass over itself
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from ..config import ModelConfig
from ..errors import CutawayError
from .constraints import NO_CONSTRAINTS, Constraints, check_something_left, constrain
from .samplers import Sampling, choose
from .session import Session
from .step import Decoder, Event, Step, ask


def autoregressive(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    constraints: Constraints = NO_CONSTRAINTS,
) -> Decoder:
    """Continue the session with the prompt and then up to max_tokens chosen tokens.

    prompt_ids: added to what the session holds; when both are empty, the model's own start id begins. eos_ids: a chosen one of
    them is the last; None: the model's own end id. request: the prompt's number in its batch, a part of the randomness.
    constraints: what the new tokens must and must not be, among what the session holds.
    When the model's position table is full, the last half of what the session holds is read again from position 0, and it goes
    on from there: what lies before is forgotten. The last token chosen is not in the session: no pass was needed.
    Raises CutawayError, at the first step, for an impossible max_tokens, nothing to start from, a prompt that does not fit, or
    constraints that name ids of no token; later, for constraints that leave no token.
    """
    check_max_tokens(max_tokens)
    config = session.model.config
    constraints.check(config.vocab_size, max_tokens)
    stops = end_ids(config) if eos_ids is None else frozenset(eos_ids)
    ids: Sequence[int] = prompt_ids or start_ids(session)
    forgotten = 0
    for index in range(max_tokens):
        logits = yield from ask(Step(session, ids))
        place = forgotten + session.length
        row = logits[-1]
        if constraints != NO_CONSTRAINTS:
            row = constrain(row, session.ids, constraints, num_new=index, max_tokens=max_tokens, end_ids=stops)
            check_something_left(row, place)
        token, probability = choose(row, session.ids, sampling, request, place)
        yield Event("commit", place, None, token, probability)
        if token in stops:
            return
        ids = (token,)
        if session.room == 0:
            ids = (*session.ids, token)[-((session.length + 1) // 2) :]
            forgotten = place + 1 - len(ids)
            session.rewind(0)


def start_ids(session: Session) -> tuple[int]:
    """What an empty sequence begins with: the decoder's start id of an encoder-decoder, else the id that begins a text.

    Raises CutawayError when the model has none, or the session is not empty.
    """
    if session.length:
        raise CutawayError(
            f"The prompt is empty, and the session's {session.length} tokens have already been run. "
            "Give at least one id to continue with, for example the token chosen last."
        )
    return (first_id(session.model.config),)


def first_id(config: ModelConfig) -> int:
    """The id that an empty text begins with: see `start_ids`, also for errors."""
    roles = config.tokens
    first = roles.decoder_start if roles.decoder_start is not None and config.has_cross else roles.bos
    if first is None:
        raise CutawayError("The prompt is empty, and this model has no id that begins a text. Give at least one id.")
    return first


def end_ids(config: ModelConfig) -> frozenset[int]:
    """The model's own end id, if it has one."""
    end = config.tokens.eos
    return frozenset() if end is None else frozenset((end,))


def mask_id_of(config: ModelConfig) -> int:
    """The id that hides a token. Raises CutawayError where the model names none."""
    if config.tokens.mask is None:
        raise CutawayError("This model names no mask token, so nothing can be hidden from it. Decode autoregressively.")
    return config.tokens.mask


def check_max_tokens(max_tokens: int) -> None:
    """Raises CutawayError below 1."""
    if max_tokens < 1:
        raise CutawayError(f"max_tokens is {max_tokens}. Ask for at least 1 token.")

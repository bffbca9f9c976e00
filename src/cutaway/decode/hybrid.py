"""Think in diffusion, talk autoregressively. In: a session of a hybrid model and a prompt. Out: drafts, verdicts, commits.

Reading a few tokens takes hardly longer than reading one, as long as memory is what a pass waits for. So every pass reads what is
certain so far, the drafts after it, and masks at which the model drafts what may follow (Liu et al. 2025, TiDAR). Its own
autoregressive half has the say (see `verify`): greedy, the text is the autoregressive text token for token; sampled, it has the
same distribution. At a rejection the token that the autoregressive half wants instead is there already, so that every pass makes
progress.

one pass    the drafts are verified, and for every number of them that may stand there is a block of masks that drafts anew:
            behind K drafts, K + 1 blocks of K masks. When the verdict is known, so is the block that counts.
two passes  one verifies the drafts, one drafts behind what is certain: fewer tokens a pass, but more passes.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Sequence

from .autoregressive import check_max_tokens, end_ids, start_ids
from .chance import Chance, Stateless
from .rounds import Answer, Drafting, Rounds
from .samplers import Sampling
from .session import Session
from .step import Decoder, Event
from .verify import Draft


def hybrid(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    drafting: Drafting | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    chance: Chance | None = None,
) -> Decoder:
    """Continue the session with the prompt and then up to max_tokens tokens, as `autoregressive` does, which see for arguments.

    drafting: how far ahead. chance: where random choices come from; None: from the seed and the request.
    Raises CutawayError, at the first step, for a model that was not trained to draft, more drafts than it learned, and whatever
    `autoregressive` refuses.
    """
    check_max_tokens(max_tokens)
    rounds = Rounds(session, sampling, drafting or Drafting(), chance or Stateless(sampling.seed, request))
    stops = end_ids(session.model.config) if eos_ids is None else frozenset(eos_ids)
    ids: Sequence[int] = prompt_ids or start_ids(session)
    drafts: Sequence[Draft] = ()
    forgotten, num_left = 0, max_tokens
    while True:
        place = forgotten + session.length + len(ids)
        said, proposals = yield from rounds.round(ids, drafts, place)
        last = place + len(said) - 1
        end = yield from _tell(session, _verdicts(said, drafts, place), forgotten, stops, place + num_left - 1)
        if end is not None:
            yield from (Event("reject", place + i, drafts[i].token) for i in range(end + 1, len(drafts)))
            return
        num_left -= len(said)
        ids = (said[-1].token,)
        if session.room == 0:
            ids = (*session.ids, *ids)[-((session.length + 1) // 2) :]
            forgotten = last + 1 - len(ids)
            session.rewind(0)
        drafts = rounds.drafts(proposals, len(ids), last + 1, num_left - 1)
        for index, draft in enumerate(drafts):
            yield Event("draft", last + 1 + index, None, draft.token, draft.probability)


def _tell(
    session: Session, events: Iterable[Event], forgotten: int, stops: Collection[int], last: int
) -> Generator[Event, Answer, int | None]:
    """Events up to the one that ends the text, whose number comes back. last: the place where it ends in any case.

    Where they end, or nobody listens any more, the session holds what was told, but for the last token, as `autoregressive`
    leaves it: no draft that stands behind.
    """
    for index, event in enumerate(events):
        is_end = event.is_final and (event.new in stops or event.position == last)
        held = event.position - forgotten if event.is_final else session.length
        if is_end:
            session.rewind(held)
        try:
            yield event
        except GeneratorExit:
            session.rewind(min(held, session.length))
            raise
        if is_end:
            return index
    return None


def _verdicts(said: Sequence[Draft], drafts: Sequence[Draft], place: int) -> Iterator[Event]:
    """What became of the drafts, place by place, and the token after those that stand."""
    num_accepted = len(said) - 1
    for index in range(num_accepted):
        token = said[index].token
        yield Event("accept", place + index, token, token, said[index].probability)
    for index in range(num_accepted, len(drafts)):
        yield Event("reject", place + index, drafts[index].token)
    yield Event("commit", place + num_accepted, None, said[-1].token, said[-1].probability)

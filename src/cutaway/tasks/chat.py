"""A conversation with a model. In: a model, a conversation that waits for a reply. Out: the reply, text as it is written.

The model's chat template, or the one of its tokenizer's role tokens, says what the model reads. When that is more than the model
reads at once, whole turns are left out, the oldest first, until a part of the context is free for the reply; the system prompt
always stays. The keys and values of what is read again unchanged are kept from one reply to the next, in the session.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator
from functools import cache
from typing import Final, Literal

from ..decode import Sampling, Session, alone
from ..errors import CutawayError
from ..lm import LM, Piece
from ..text.chat import ChatTemplate
from ..text.turns import common_length, end_of_turn, role_template
from .conversation import Conversation, Message, Role

__all__ = ["Conversation", "Message", "Reply", "Role", "check", "reply", "template_of"]

MAX_TOKENS: Final = 512
_SHARE_OF_REPLY: Final = 4  # at least a fourth of the context is free for the reply, or as much as was asked for

Ending = Literal["turn", "length", "context"]


class Reply:
    """One reply. Iterate over it once: pieces of text, as they become certain.

    num_left_out: the oldest turns that the model does not read. num_read, num_kept: tokens that it reads, and how many of them
    were in the session already. So far: token_ids, those chosen, what ends the turn included; text. ending: what ended it (the
    model its turn, the tokens asked for, the context), None while it is written and where it was stopped.
    """

    def __init__(
        self,
        pieces: Iterator[Piece],
        *,
        num_left_out: int,
        num_read: int,
        num_kept: int,
        end_ids: Collection[int],
        bound: Ending,
    ) -> None:
        """end_ids: what ends a turn. bound: what else ends the reply."""
        self.num_left_out, self.num_read, self.num_kept = num_left_out, num_read, num_kept
        self.token_ids: list[int] = []
        self.text = ""
        self.ending: Ending | None = None
        self._pieces, self._end_ids, self._bound = pieces, end_ids, bound

    def __iter__(self) -> Iterator[str]:
        for piece in self._pieces:
            if piece.event is not None and piece.event.new is not None:
                self.token_ids.append(piece.event.new)
            self.text += piece.text
            if piece.text:
                yield piece.text
        self.ending = "turn" if self.token_ids and self.token_ids[-1] in self._end_ids else self._bound


def reply(
    lm: LM,
    conversation: Conversation,
    *,
    session: Session | None = None,
    max_tokens: int = MAX_TOKENS,
    sampling: Sampling | None = None,
    request: int = 0,
) -> Reply:
    """What the model says next.

    session: of this model; it is rewound to what the conversation shares with it, and holds the conversation afterwards. Give
    the same one again and again. max_tokens: of the reply. sampling: greedy if None. request: another number, another reply.
    Raises CutawayError for a model that holds no conversation, a conversation without a message to reply to, a message that is
    longer than the model reads, and what the template refuses.
    """
    check(lm, max_tokens)
    if conversation.is_answered:
        raise CutawayError("Nothing waits for a reply: the last message is not the user's. Add a message first.")
    template, context = template_of(lm), lm.config.context
    num_left_out, ids = _fitted(lm, template, conversation, context - _room(context, max_tokens))
    session = alone(lm.model, num_read=len(ids), num_new=max_tokens, cache=lm.cache) if session is None else session
    num_kept, room, end_ids = _rewind(session, ids), context - len(ids), _end_ids(lm, template)
    pieces = lm.stream(
        ids[num_kept:],
        max_tokens=min(max_tokens, room),
        sampling=sampling,
        request=request,
        session=session,
        end_ids=end_ids,
    )
    return Reply(
        pieces,
        num_left_out=num_left_out,
        num_read=len(ids),
        num_kept=num_kept,
        end_ids=end_ids,
        bound="length" if max_tokens <= room else "context",
    )


def check(lm: LM, max_tokens: int = MAX_TOKENS) -> None:
    """Raises CutawayError for a model that holds no conversation, and for less than one token."""
    config = lm.config
    if config.has_cross or not config.says_next:
        raise CutawayError(
            f"'{lm.name}' does not continue one text from left to right, so it holds no conversation. Choose a decoder-only "
            "model that was trained on conversations."
        )
    if max_tokens < 1:
        raise CutawayError(f"max_tokens is {max_tokens}. Ask for at least 1 token.")
    template_of(lm)


def template_of(lm: LM) -> ChatTemplate:
    """The model's own template, or that of its tokenizer's role tokens. Raises CutawayError where it has neither."""
    found = lm.chat_template or role_template(lm.tokenizer)
    if found is None:
        raise CutawayError(
            f"'{lm.name}' has no chat template, and its tokenizer has no tokens for who speaks, so it holds no conversation. "
            f'It continues texts: cutaway generate {lm.name} "some text"'
        )
    return found


def _fitted(lm: LM, template: ChatTemplate, conversation: Conversation, most: int) -> tuple[int, list[int]]:
    """How many of the oldest turns are left out, and the ids of the rest: at most `most`."""
    num_turns = len(conversation.turns)

    @cache
    def ids(num_left_out: int) -> list[int]:
        messages = conversation.without_oldest(num_left_out).as_messages()
        return template.ids(lm.tokenizer, messages, add_generation_prompt=True)

    def fits(num_left_out: int) -> bool:
        return len(ids(num_left_out)) <= most

    found = 0 if fits(0) else bisect_left(range(num_turns), True, lo=1, key=fits)
    if found == num_turns:
        length, context = len(ids(num_turns - 1)), lm.config.context
        raise CutawayError(
            f"The message has, with {'the system prompt and ' if conversation.system else ''}what the template adds, "
            f"{length:,} tokens. This model reads {context:,} at once, and {context - most:,} are kept free for the reply, so at "
            f"most {most:,} fit. Shorten the message."
        )
    return found, ids(found)


def _room(context: int, max_tokens: int) -> int:
    """The tokens that are kept free for a reply."""
    return max(1, min(max_tokens, context // _SHARE_OF_REPLY))


def _rewind(session: Session, ids: list[int]) -> int:
    """Leave in the session what it shares with the ids, but for the last of them, which must be run. Returns how much that is."""
    is_whole = session.length == len(session.ids)  # a pass that was interrupted may have left only one of the two
    num_kept = min(common_length(session.ids, ids), len(ids) - 1) if is_whole else 0
    num_kept = num_kept if num_kept >= session.shortest else 0  # layers with a window have forgotten what it would take
    session.rewind(num_kept)
    return num_kept


def _end_ids(lm: LM, template: ChatTemplate) -> frozenset[int]:
    """What ends a reply: the end of a turn or of a text, or that somebody else begins to speak."""
    roles = lm.tokenizer.roles
    found = (end_of_turn(template, lm.tokenizer), lm.config.tokens.eos, roles.eos, roles.end, roles.user, roles.system)
    return frozenset(token_id for token_id in found if token_id is not None)

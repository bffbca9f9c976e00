"""What is said, and what is done to it. In: messages and the verbs of a conversation. Out: replies on a screen."""

from __future__ import annotations

from dataclasses import replace

from ...decode import Sampling, alone
from ...lm import LM
from ...tasks.chat import check, reply
from ...tasks.conversation import Conversation
from .screen import Screen


class Talk:
    """A conversation with a model on a screen.

    conversation: so far. is_over: whether somebody wants to leave. Every verb raises CutawayError for what cannot be done, and
    then nothing has changed.
    """

    def __init__(
        self, lm: LM, screen: Screen, conversation: Conversation, *, sampling: Sampling, max_tokens: int
    ) -> None:
        """Raises CutawayError for a model that holds no conversation."""
        check(lm, max_tokens)
        self.lm, self.screen, self.sampling, self.max_tokens = lm, screen, sampling, max_tokens
        self.conversation, self.is_over = conversation, False
        # A reply can be taken back without reading everything again.
        self._session = alone(lm.model, cache=lm.cache.at_least(max_tokens))
        self._num_asked = self._num_left_out = 0

    def say(self, text: str) -> None:
        """A message, and its reply."""
        self._answer(self.conversation.add("user", text))

    def edit(self, text: str, number: int | None) -> None:
        """A message said otherwise, and its reply; what followed it is taken back."""
        self._answer(self.conversation.edit(text, number))

    def retry(self) -> None:
        """Another reply to the last message."""
        if self.sampling.is_greedy and self.conversation.is_answered:
            self.screen.note("At temperature 0 a reply comes out the same. Change it with /temperature T.")
        self._answer(self.conversation.retry())

    def _answer(self, asked: Conversation) -> None:
        """Have a reply to the last message. A reply that was stopped before its first word is none."""
        found = reply(
            self.lm,
            asked,
            session=self._session,
            max_tokens=self.max_tokens,
            sampling=self.sampling,
            request=self._num_asked,
        )
        self._num_asked += 1
        self._tell_left_out(found.num_left_out)
        self.screen.show(found)
        if found.ending is None and not found.text:
            self.screen.note("It was stopped before the first word: nothing has changed.")
            return
        self.conversation = replace(asked.add("assistant", found.text), model=self.lm.name)
        figures, used = self.lm.figures, found.num_read + len(found.token_ids)
        speed = f"{figures.num_tokens} tokens, {figures.tokens_per_second:,.0f} tokens/s"
        self.screen.aside(f"{speed}. {used:,} of the {self.lm.config.context:,} tokens that the model reads are used.")
        if found.ending == "context":
            self.screen.note("The reply ends here since the model reads no more at once.")

    def _tell_left_out(self, num_left_out: int) -> None:
        """Say it when it changes."""
        if num_left_out > self._num_left_out:
            turns = "The oldest turn is" if num_left_out == 1 else f"The {num_left_out} oldest turns are"
            self.screen.note(
                f"{turns} left out: all of them are more than the {self.lm.config.context:,} tokens it reads."
            )
        self._num_left_out = num_left_out


def opening(lm: LM, conversation: Conversation) -> str:
    """What a person is told first."""
    lines = [f"{lm.name}, which reads {lm.config.context:,} tokens at once. /help lists the commands, Ctrl-D leaves."]
    if lm.chat_template is None:
        lines.append(
            "It came without a chat template: the role tokens of its tokenizer are used, whether or not it was trained on them."
        )
    if conversation.messages:
        lines.append(f"{told(conversation)} /history shows them.")
    return "\n".join(lines)


def told(conversation: Conversation) -> str:
    """How much was said, and with whom."""
    num = len(conversation.messages)
    held = "" if conversation.model is None else f", held with {conversation.model}"
    return f"{num} message{'s' * (num != 1)}{held}."

"""The turns of a conversation as ids. In: a template, a tokenizer, messages. Out: ids, what ends a turn, where replies lie.

A model that was trained here on conversations is given the template of its tokenizer's role tokens (`role_template`), as the file
that other tools read. Whatever the template, what it says decides: nothing here knows how any model writes a turn.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from string import Template
from typing import Final

from ..errors import CutawayError
from .chat import ChatTemplate
from .tokenizer import Tokenizer

Messages = Sequence[Mapping[str, str]]
_SPEAKERS: Final = ("system", "user", "assistant")
_ROLE_TEMPLATE: Final = Template("""\
{#- A token says who speaks, then comes what is said, then the token that ends a turn. -#}
{{- $bos }}
{%- for message in messages %}
    {%- if message['role'] not in ['system', 'user', 'assistant'] %}
        {{- raise_exception('the role ' ~ message['role'] ~ ' is none of system, user, assistant') }}
    {%- elif message['role'] == 'system' and not loop.first %}
        {{- raise_exception('a system message comes first or not at all') }}
    {%- elif message['content'] is not string %}
        {{- raise_exception('the content of a message is a text') }}
    {%- endif %}
    {%- if message['role'] == 'assistant' %}
        {{- $assistant }}
        {%- generation %}
            {{- message['content'] + $end }}
        {%- endgeneration %}
    {%- elif message['role'] == 'system' %}
        {{- $system + message['content'] + $end }}
    {%- else %}
        {{- $user + message['content'] + $end }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- $assistant }}
{%- endif %}
""")
_PROBE: Final = "word"


def role_template(tokenizer: Tokenizer) -> ChatTemplate | None:
    """The template of a tokenizer with tokens for system, user, assistant and the end of a turn; None where one is missing.

    The conversation begins with what begins every text (bos), where there is such a token.
    """
    roles = tokenizer.roles.named()
    if not all(role in roles for role in (*_SPEAKERS, "end")):
        return None
    spelled = {role: json.dumps(tokenizer.spelling(roles[role])) for role in (*_SPEAKERS, "end")}
    begin = json.dumps(tokenizer.spelling(roles["bos"])) if "bos" in roles else '""'
    return ChatTemplate(_ROLE_TEMPLATE.substitute(spelled, bos=begin), "the tokenizer's role tokens")


def end_of_turn(template: ChatTemplate, tokenizer: Tokenizer) -> int | None:
    """The special token that the template writes behind a reply, or None where it writes none."""
    pair = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _PROBE}]
    _, found, rest = template.render(pair).rpartition(_PROBE)
    ids = tokenizer.encode(rest, specials=True) if found else []
    return next((token_id for token_id in ids if tokenizer.is_special(token_id)), None)


def replies(template: ChatTemplate, tokenizer: Tokenizer, messages: Messages) -> tuple[list[int], list[range]]:
    """The ids of a conversation, and which of them the assistant is to say, reply by reply, in order.

    A reply begins behind what the template writes to have one, and ends with the first token that ends a turn. Where a token
    joins the two sides of a border, it is the reply's. Raises CutawayError where the template refuses the conversation, or
    writes its beginning otherwise once more follows: then no reply stands where the model would have to give it.
    """
    text, end_id = template.marked_text(tokenizer, messages), end_of_turn(template, tokenizer)
    ids, found = template.encode(tokenizer, text), []
    for index, message in enumerate(messages):
        if message["role"] == "assistant":
            start = common_length(template.encode(tokenizer, _before(template, tokenizer, messages[:index], text)), ids)
            if end_id is not None and end_id in ids[start:]:
                stop = ids.index(end_id, start) + 1
            else:
                behind = _shared(template.marked_text(tokenizer, messages[: index + 1]), text)
                stop = common_length(template.encode(tokenizer, behind), ids)
            found.append(range(start, stop))
    return ids, found


def common_length(one: Sequence[object], other: Sequence[object]) -> int:
    """How many first items are the same in both."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


def _before(template: ChatTemplate, tokenizer: Tokenizer, messages: Messages, text: str) -> str:
    """The beginning of the text, up to where the assistant speaks after these messages."""
    asking = template.marked_text(tokenizer, messages, add_generation_prompt=True)
    if text.startswith(asking):
        return asking
    if not text.startswith(template.marked_text(tokenizer, messages)):
        raise CutawayError(
            f"The chat template of {template.origin} writes the first {len(messages)} messages otherwise once others follow, so "
            "that no reply but the last stands where the model gives it. Cut the conversation behind its first reply."
        )
    return _shared(asking, text)


def _shared(one: str, other: str) -> str:
    """How both texts begin."""
    return one[: common_length(one, other)]

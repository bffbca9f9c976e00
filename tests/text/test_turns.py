"""Turns as ids: the reference's ids and its mask of what the assistant says, whatever the template writes around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("jinja2")

from cutaway.errors import CutawayError
from cutaway.text import ChatTemplate, SpecialPlan, Tokenizer, read_chat_template, train_tokenizer
from cutaway.text.turns import common_length, end_of_turn, replies, role_template

from .samples import DOCUMENTS, sentencepiece, trained

LINES = (
    "{% for m in messages %}{{ '<|' + m.role + '|>\n' }}"
    "{% if m.role == 'assistant' %}{% generation %}{{ m.content + '<|end|>' }}{% endgeneration %}"
    "{% else %}{{ m.content + '<|end|>' }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
BRACKETS = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'assistant' %}"
    "{% generation %}{{ ' ' + m.content | trim + eos_token }}{% endgeneration %}"
    "{% else %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)
THINKING = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' }}{% if m.role == 'assistant' and loop.last %}<think></think>{% endif %}"
    "{{ m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|><think>' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role + ': ' + m.content + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
SYSTEM_LAST = (
    "{% for m in messages[1:] %}{{ '<|' + m.role + '|>' }}{% if loop.last %}{{ messages[0].content }}{% endif %}"
    "{{ m.content + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
NAMED = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>"}
SYSTEM = {"role": "system", "content": "Be brief."}
TALK = [
    {"role": "user", "content": "Who chased the cat? "},
    {"role": "assistant", "content": "The dog,\n however.\n"},
    {"role": "user", "content": " 漢字 🙂"},
    {"role": "assistant", "content": "Tom saw <b>365</b> cats."},
]


def said(tokenizer: Tokenizer, ids: Sequence[int], spans: Sequence[range]) -> list[str]:
    """What the spans hold, as text."""
    return [tokenizer.decode([ids[index] for index in span]) for span in spans]


def theirs(tokenizer: Tokenizer, template: str, place: Path) -> Any:
    """The reference's tokenizer with this template."""
    from transformers import AutoTokenizer

    tokenizer.save(place)
    (place / "chat_template.jinja").write_text(template, encoding="utf-8")
    return AutoTokenizer.from_pretrained(place, local_files_only=True)


def own(kind: str) -> ChatTemplate:
    found = role_template(trained(kind))
    assert found is not None
    return found


@pytest.mark.parametrize("kind", ["bpe", "byte"])
@pytest.mark.parametrize("messages", [TALK, [SYSTEM, *TALK], TALK[:1]], ids=["talk", "system", "one"])
@pytest.mark.parametrize("prompts", [False, True])
def test_the_role_template_gives_the_reference_the_same_ids(
    kind: str, messages: list[Any], prompts: bool, tmp_path: Path
) -> None:
    tokenizer = trained(kind)
    reference = theirs(tokenizer, own(kind).source, tmp_path)
    expected = reference.apply_chat_template(messages, add_generation_prompt=prompts, return_dict=True)["input_ids"]
    saved = read_chat_template(tmp_path)
    assert saved is not None
    for template in (own(kind), saved):
        assert template.ids(tokenizer, messages, add_generation_prompt=prompts) == expected


def test_the_role_template_uses_the_tokens_by_role() -> None:
    tokenizer, roles = trained("bpe"), trained("bpe").roles
    found = own("bpe").ids(tokenizer, [SYSTEM, *TALK[:1]], add_generation_prompt=True)
    system, user = tokenizer.encode("Be brief."), tokenizer.encode("Who chased the cat? ")
    assert found == [roles.bos, roles.system, *system, roles.end, roles.user, *user, roles.end, roles.assistant]


def test_a_tokenizer_without_the_roles_has_no_template() -> None:
    assert role_template(sentencepiece()) is None
    assert role_template(train_tokenizer("byte", DOCUMENTS, specials=SpecialPlan(chat=False))) is None
    without_bos = train_tokenizer("byte", DOCUMENTS, specials=SpecialPlan(end_of_text=False))
    template = role_template(without_bos)
    assert template is not None
    assert template.render(TALK[:1]) == "<|user|>Who chased the cat? <|end|>"


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([*TALK, SYSTEM], "a system message comes first"),
        ([{"role": "tool", "content": "x"}], "the role tool is none of"),
        ([{"role": "user", "content": ["x"]}], "is a text"),
    ],
)
def test_the_role_template_refuses_what_it_cannot_write(messages: list[Any], said: str) -> None:
    with pytest.raises(CutawayError, match=rf"role tokens refuses this conversation: .*{said}"):
        own("bpe").render(messages)


@pytest.mark.parametrize("template", ["own", LINES, BRACKETS], ids=["own", "lines", "brackets"])
@pytest.mark.parametrize("messages", [TALK, TALK[:2]], ids=["two", "one"])
def test_replies_are_what_the_reference_marks(template: str, messages: list[Any], tmp_path: Path) -> None:
    tokenizer = trained("bpe")
    ours = own("bpe") if template == "own" else ChatTemplate(template, tokens=NAMED)
    marked = theirs(tokenizer, ours.source, tmp_path).apply_chat_template(
        messages, return_dict=True, return_assistant_tokens_mask=True
    )
    ids, spans = replies(ours, tokenizer, messages)
    assert ids == marked["input_ids"]
    inside = {index for span in spans for index in span}
    assert [int(index in inside) for index in range(len(ids))] == marked["assistant_masks"]
    assert 0 < len(inside) < len(ids)


WORDS = st.lists(st.sampled_from(["the cat", " ", "\n", "<|end|>", "<|assistant|>", "🙂", "a"]), max_size=5).map(
    "".join
)


@settings(max_examples=40)
@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), WORDS | st.text(max_size=5)), min_size=1, max_size=5))
def test_a_reply_is_its_text_and_the_end_of_its_turn(turns: list[tuple[str, str]]) -> None:
    tokenizer = trained("bpe")
    messages = [{"role": role, "content": text} for role, text in turns]
    ids, spans = replies(own("bpe"), tokenizer, messages)
    assert said(tokenizer, ids, spans) == [f"{text}<|end|>" for role, text in turns if role == "assistant"]
    assert [ids[span.stop - 1] for span in spans] == [tokenizer.roles.end] * len(spans)
    assert ids.count(tokenizer.roles.end) == len(turns)


def test_what_the_template_thinks_before_a_reply_is_not_the_models() -> None:
    tokenizer = trained("bpe")
    ids, spans = replies(ChatTemplate(THINKING), tokenizer, TALK)
    first, last = said(tokenizer, ids, spans)
    assert first == TALK[1]["content"] + "<|end|>"
    assert last.endswith("</think>" + TALK[3]["content"] + "<|end|>")


def test_a_template_of_text_alone_ends_a_reply_where_the_next_message_begins() -> None:
    tokenizer = trained("bpe")
    assert end_of_turn(ChatTemplate(PLAIN), tokenizer) is None
    ids, spans = replies(ChatTemplate(PLAIN), tokenizer, TALK)
    assert said(tokenizer, ids, spans) == [f" {message['content']}\n\n" for message in TALK[1::2]]


def test_a_template_that_rewrites_the_beginning_is_refused() -> None:
    messages = [SYSTEM, *TALK]
    with pytest.raises(CutawayError, match="writes the first 2 messages otherwise"):
        replies(ChatTemplate(SYSTEM_LAST), trained("bpe"), messages)


def test_the_end_of_a_turn_is_found_in_any_template() -> None:
    tokenizer = trained("bpe")
    assert end_of_turn(own("bpe"), tokenizer) == tokenizer.roles.end
    assert end_of_turn(ChatTemplate(LINES), tokenizer) == tokenizer.roles.end
    assert end_of_turn(ChatTemplate(BRACKETS, tokens=NAMED), tokenizer) == tokenizer.roles.eos


def test_common_lengths() -> None:
    assert [common_length([1, 2, 3], other) for other in ([], [1, 2], [1, 2, 3, 4], [2], [1, 3, 3])] == [0, 2, 3, 0, 1]

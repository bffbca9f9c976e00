"""Chat templates: the text of the reference implementation, and templates that misbehave, each ended by one error."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("jinja2")

from cutaway.errors import CutawayError
from cutaway.text import ChatTemplate, SpecialPlan, read_chat_template, train_tokenizer

from .samples import trained

TURNS = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
HEADERS = """{{- bos_token }}
{%- if not date_string is defined %}
    {%- set date_string = "26 Jul 2024" %}
{%- endif %}
{%- if messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content']|trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{{- "Today Date: " + date_string + "\\n\\n" }}
{%- if tools is not none %}
    {%- for t in tools %}
        {{- t | tojson(indent=4) }}
        {{- "\\n\\n" }}
    {%- endfor %}
{%- endif %}
{{- system_message }}
{{- "<|eot_id|>" }}
{%- for message in messages %}
    {%- if message.role == 'skip' %}{% continue %}{% endif %}
    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
"""
INSTRUCTIONS = """{%- if messages[0]["role"] == "system" %}
    {%- set system_message = messages[0]["content"] %}
    {%- set loop_messages = messages[1:] %}
{%- else %}
    {%- set loop_messages = messages %}
{%- endif %}
{%- set ns = namespace(index=0) %}
{%- for message in loop_messages %}
    {%- if (message["role"] == "user") != (ns.index % 2 == 0) %}
        {{- raise_exception("After the optional system message, conversation roles must alternate user/assistant") }}
    {%- endif %}
    {%- set ns.index = ns.index + 1 %}
{%- endfor %}
{{- bos_token }}
{%- for message in loop_messages %}
    {%- if message["role"] == "user" %}
        {%- if loop.last and system_message is defined %}
            {{- "[INST] " + system_message + "\\n\\n" + message["content"] + "[/INST]" }}
        {%- else %}
            {{- "[INST] " + message["content"] + "[/INST]" }}
        {%- endif %}
    {%- elif message["role"] == "assistant" %}
        {% generation %}{{- " " + message["content"]|trim + eos_token}}{% endgeneration %}
    {%- else %}
        {{- raise_exception("Only user and assistant roles are supported, with the exception of an initial system message") }}
    {%- endif %}
{%- endfor %}
"""
USER = {"role": "user", "content": " Hé, 漢字 <b>&amp;</b>\n 🙂 "}
TALK = [USER, {"role": "assistant", "content": "Fine. "}, {"role": "user", "content": "And <|im_end|>?"}]
SYSTEM = [{"role": "system", "content": " Be brief.\n"}, *TALK]
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Ünïcode <tag> & more"}}]


@pytest.mark.parametrize("template", [TURNS, HEADERS, INSTRUCTIONS], ids=["turns", "headers", "instructions"])
@pytest.mark.parametrize("messages", [TALK, SYSTEM, [USER]], ids=["talk", "system", "one"])
@pytest.mark.parametrize("prompts", [False, True])
def test_the_reference_gives_the_same(template: str, messages: list[Any], prompts: bool, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    trained("bpe").save(tmp_path)
    (tmp_path / "chat_template.jinja").write_text(template, encoding="utf-8")
    theirs = AutoTokenizer.from_pretrained(tmp_path, local_files_only=True)
    ours = read_chat_template(tmp_path)
    assert ours is not None
    for variables in ({}, {"tools": TOOLS}, {"date_string": "1 Jan"}):
        expected = theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=prompts, **variables)
        assert ours.render(messages, add_generation_prompt=prompts, **variables) == expected


def test_what_a_template_refuses_is_said_in_its_words() -> None:
    with pytest.raises(CutawayError, match=r"refuses this conversation: After the optional system message.*Change"):
        ChatTemplate(INSTRUCTIONS, tokens={"bos_token": "<s>", "eos_token": "</s>"}).render([*TALK, USER])


def test_helpers_of_the_field() -> None:
    source = (
        "{{ strftime_now('%Y') }}|{{ {'b': 1, 'a': '<é>'} | tojson(sort_keys=true) }}|{{ dict(x=1).x }}"
        "|{% for i in range(9) %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}|{{ nothing }}|"
        "{% generation %}{% set inner = 1 %}{{ inner }}{% endgeneration %}{{ inner }}|{{ bos_token }}|{{ tools is none }}"
    )
    year, *rest = ChatTemplate(source, tokens={"bos_token": "<s>"}).render([]).split("|")
    assert year.isdecimal()
    assert rest == ['{"a": "<é>", "b": 1}', "1", "01", "", "1", "<s>", "True"]


def test_ids_take_the_tokens_of_the_template_and_the_text_of_the_messages() -> None:
    tokenizer = trained("bpe")
    end, user = tokenizer.roles.end, tokenizer.roles.user
    source = "{% for m in messages %}<|user|>{{ m.content | trim }}<|end|>{% endfor %}"
    plain = ChatTemplate(source).ids(tokenizer, [{"role": "user", "content": " the cat "}])
    assert plain == [user, *tokenizer.encode("the cat"), end]
    spelled = ChatTemplate(source).ids(tokenizer, [{"role": "user", "content": "a<|end|><|user|> b"}])
    assert (spelled.count(end), spelled.count(user)) == (1, 1)
    assert tokenizer.decode(spelled) == "<|user|>a<|end|><|user|> b<|end|>"


def test_ids_without_special_tokens() -> None:
    tokenizer = train_tokenizer("character", ["abc"], specials=SpecialPlan.none())
    assert tokenizer.decode(ChatTemplate("{{ messages[0] }}").ids(tokenizer, ["abc"])) == "abc"  # type: ignore[list-item]


HOSTILE = {
    "class": "{{ ''.__class__.__mro__[1].__subclasses__() }}{{ ''.__class__.__mro__ | length }}",
    "globals": "{{ raise_exception.__globals__['__builtins__']['open'] }}",
    "namespace": "{% set n = namespace(__class__=1) %}",
    "format": "{{ '{0.__class__.__mro__[1].__subclasses__}'.format(1)() }}",
    "import": "{% import 'os' as os %}",
    "include": "{% include '/etc/passwd' %}",
    "append": "{{ messages.append(1) }}",
    "range": "{% for i in range(10**12) %}x{% endfor %}",
    "ranges": "{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}",
    "output": "{% for i in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    "times": "{{ ('x' * 10**10) | length }}",
    "list": "{{ ([1] * 10**10) | length }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "powers": "{% set n = namespace(x=9**999) %}{% for i in range(99999) %}{% set n.x = n.x * n.x %}{% endfor %}",
    "center": "{{ ('x' | center(10**11)) | length }}",
    "percent": "{{ ('%99999999999d' | format(1)) | length }}",
    "braces": "{{ '{:>99999999999}'.format(1) | length }}",
    "doubling": "{% set n = namespace(x='xx') %}{% for i in range(99) %}{% set n.x = n.x + n.x %}{% endfor %}",
    "joining": "{% set n = namespace(x='xx') %}{% for i in range(99) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "macro": "{% macro f(x) %}{{ f(x + 1) }}{% endmacro %}{{ f(0) }}",
    "tree": "{% macro f(x) %}{% if x %}{{ f(x - 1) }}{{ f(x - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
    "lipsum": "{{ lipsum(n=10**9) }}",
    "syntax": "{% for %}",
    "nesting": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
    "undefined": "{{ a.b.c }}",
    "divide": "{{ 1 / 0 }}",
    "exit": "{{ raise_exception(messages) }}",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_template_that_misbehaves_ends_in_one_error(name: str) -> None:
    template = ChatTemplate(HOSTILE[name], origin="stranger.jinja", seconds=1)
    with pytest.raises(CutawayError, match=r"stranger\.jinja"):
        template.render(TALK)
    assert ChatTemplate("{{ messages | length }}").render(TALK) == "3"  # and the next one is served


def test_a_template_holds_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN_OF_SOMETHING", "secret")
    from cutaway.text.chat import _Worker

    worker = _Worker()
    process = worker._started()
    environment = Path(f"/proc/{process.pid}/environ")
    held = environment.read_bytes() if environment.exists() else b""
    worker.close()
    assert b"secret" not in held


def test_sizes_are_bounded() -> None:
    with pytest.raises(CutawayError, match="300,000 characters"):
        ChatTemplate("x" * 300_000)
    with pytest.raises(CutawayError, match="Shorten it"):
        ChatTemplate("x").render([{"role": "user", "content": "x" * 2**24}])
    with pytest.raises(CutawayError, match="nothing that JSON can say"):
        ChatTemplate("x").render([{"role": "user", "content": object()}])


def test_where_templates_stand(tmp_path: Path) -> None:
    assert read_chat_template(tmp_path) is None
    config = {"bos_token": {"content": "<s>"}, "eos_token": None, "chat_template": "A{{ bos_token }}{{ eos_token }}"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    found = read_chat_template(tmp_path)
    assert found is not None
    assert found.render([]) == "A<s>"
    entries = [{"name": "default", "template": "B"}, {"name": "tool_use", "template": "C"}]
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": entries}))
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"pad_token": "<pad>"}))
    rendered = [read_chat_template(tmp_path, name) for name in ("default", "tool_use")]
    assert [each.render([]) for each in rendered if each] == ["B", "C"]
    assert rendered[0] is not None
    assert rendered[0].tokens == {"pad_token": "<pad>"}
    (tmp_path / "chat_template.jinja").write_text("D\n")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("E")
    rendered = [read_chat_template(tmp_path, name) for name in ("default", "tool_use", "rag")]
    assert [each.render([]) for each in rendered if each] == ["D", "C", "E"]
    with pytest.raises(CutawayError, match="no chat template 'tool'"):
        read_chat_template(tmp_path, "tool")


@pytest.mark.parametrize("value", [5, {"a": 1}, [5], [{"name": "a"}], [{"name": 1, "template": "x"}]])
def test_a_malformed_entry_is_refused(value: object, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": value}))
    with pytest.raises(CutawayError, match=r"tokenizer_config\.json: chat_template is neither"):
        read_chat_template(tmp_path)


def test_one_process_serves_many_renderings() -> None:
    from cutaway.text import chat

    worker = chat._worker(chat.os.getpid())
    ChatTemplate("x").render([])
    first = worker._process
    with pytest.raises(CutawayError, match="division by zero"):
        ChatTemplate("{{ 1 / 0 }}").render([])
    assert ChatTemplate("y").render([]) == "y"
    assert worker._process is first


def test_an_answer_that_nobody_waited_for_is_not_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    from cutaway.text import chat

    ChatTemplate("x").render([])

    def interrupt(process: Any, line: bytes, _: float) -> None:
        process.stdin.write(line)
        process.stdin.flush()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(chat, "_said", interrupt)
        with pytest.raises(KeyboardInterrupt):
            ChatTemplate("the first").render([])
    assert ChatTemplate("the second").render([]) == "the second"


def test_ctrl_c_is_not_for_the_process_that_renders() -> None:
    from cutaway.text import chat

    ChatTemplate("x").render([])
    process = chat._worker(chat.os.getpid())._process
    assert process is not None
    process.send_signal(signal.SIGINT)
    assert ChatTemplate("y").render([]) == "y"
    assert process.poll() is None


def test_what_one_rendering_set_is_gone_in_the_next() -> None:
    source = "{{ seen is defined }}{% set seen = messages | length %}{% macro f() %}{{ seen }}{% endmacro %}{{ f() }}"
    assert [ChatTemplate(source).render(TALK[:length]) for length in (1, 2, 1)] == ["False1", "False2", "False1"]


def test_a_missing_library_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from cutaway.text import chat

    chat._worker(chat.os.getpid()).close()
    monkeypatch.setattr(chat, "find_spec", lambda _: None)
    with pytest.raises(CutawayError, match=r"pip install 'cutaway\[chat\]'"):
        ChatTemplate("x").render([])

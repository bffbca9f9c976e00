"""Dialogues as data: three forms of one conversation give one result, only replies are scored, and a mistake has its line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("jinja2")

from cutaway.data.dialogues import encode_dialogues, read_dialogues
from cutaway.data.sources import Source
from cutaway.errors import CutawayError
from cutaway.text import ChatTemplate
from cutaway.text.turns import role_template
from tests.text.samples import trained

TURNS = [["USER", "The cat?"], ["SYSTEM", "The dog. <|end|>"], ["user", "Who?"], ["assistant", "Tom"]]
MESSAGES = [
    {"role": role, "content": text}
    for role, (_, text) in zip(("user", "assistant", "user", "assistant"), TURNS, strict=True)
]
WRITTEN = [
    {"from": name, "value": text} for name, (_, text) in zip(("human", "gpt", "user", "assistant"), TURNS, strict=True)
]
FORMS = {"messages": MESSAGES, "conversations": WRITTEN, "turns": TURNS}


def template() -> ChatTemplate:
    found = role_template(trained("bpe"))
    assert found is not None
    return found


def written(folder: Path, *records: Any, name: str = "talk.jsonl") -> Source:
    (folder / name).write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return Source(files=name, folder=folder)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_says_the_same(form: str, tmp_path: Path) -> None:
    (dialogue,) = read_dialogues(written(tmp_path, {"id": 7, form: FORMS[form]}))
    assert list(dialogue.messages) == MESSAGES
    assert dialogue.place.endswith("talk.jsonl:1")


def test_only_what_the_assistant_says_is_scored_with_the_end_of_its_turn(tmp_path: Path) -> None:
    tokenizer, roles = trained("bpe"), trained("bpe").roles
    system = {"role": "system", "content": "Be brief."}
    ((ids, weights),) = encode_dialogues(written(tmp_path, {"messages": [system, *MESSAGES]}), tokenizer, template())
    assert (ids.dtype, weights.dtype) == (np.int64, np.float32)
    assert ids.shape == weights.shape
    assert tokenizer.decode(ids[weights == 1].tolist()) == "The dog. <|end|><|end|>Tom<|end|>"
    assert list(ids[weights == 1]).count(roles.end) == 2  # the one that the message spells is text
    expected: list[tuple[int | None, int]] = [(roles.bos, 0)]
    for message in (system, *MESSAGES):
        is_reply = int(message["role"] == "assistant")
        expected.append((roles.named()[message["role"]], 0))
        expected += [(token_id, is_reply) for token_id in tokenizer.encode(message["content"])]
        expected.append((roles.end, is_reply))
    assert list(zip(ids.tolist(), weights.tolist(), strict=True)) == expected


def test_lines_come_in_order_packed_or_not(tmp_path: Path) -> None:
    lines = [json.dumps({"turns": [["user", "a"], ["assistant", text]]}) for text in ("one", "two", "three")]
    with gzip.open(tmp_path / "talk.json.gz", "wt") as file:
        file.write("\n\n".join(lines))
    found = list(read_dialogues(Source(files="talk.json.gz", folder=tmp_path)))
    assert [dialogue.messages[1]["content"] for dialogue in found] == ["one", "two", "three"]
    assert [dialogue.place.rpartition(":")[2] for dialogue in found] == ["1", "3", "5"]


GOOD = {"messages": MESSAGES}
MISTAKES = {
    "no form": ({"mesages": MESSAGES}, r"none of the fields messages, conversations, turns\. Did you mean"),
    "no list": ({"messages": "hello"}, r"'messages' is 'hello'\. It takes a list"),
    "empty": ({"turns": []}, r"'turns' is \[\]"),
    "no object": ({"messages": ["hello"]}, r"messages, number 1 is 'hello'"),
    "missing field": ({"messages": [*MESSAGES, {"role": "user"}]}, r"messages, number 5 has no field 'content'"),
    "no text": ({"messages": [{"role": "user", "content": 5}]}, r"number 1: 'content' is 5\. It takes a text"),
    "writer": ({"conversations": [{"from": "humann", "value": "x"}]}, r"said by 'humann'.*Did you mean 'human'"),
    "speaker": ({"turns": [["user", "x"], ["Bob", "x"]]}, r"turns, number 2 is said by 'bob'"),
    "pair": ({"turns": [["user", "x", "y"]]}, r"takes the speaker and the text"),
    "refused": ({"messages": [{"role": "tool", "content": "x"}, *MESSAGES]}, r"refuses this conversation: .*role tool"),
    "no reply": ({"messages": MESSAGES[:1]}, "has no reply of the assistant"),
    "no dict": ([1], "holds a JSON list"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message_with_file_and_line(name: str, tmp_path: Path) -> None:
    record, message = MISTAKES[name]
    source = written(tmp_path, GOOD, record)
    with pytest.raises(CutawayError, match=message) as caught:
        list(encode_dialogues(source, trained("bpe"), template()))
    assert "talk.jsonl:2" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_without_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CutawayError, match="holds no line with an object"):
        list(read_dialogues(written(tmp_path)))

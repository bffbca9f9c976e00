"""Questions and readers for tests. In: a folder. Out: a file in SQuAD's form, two kinds of tokenizers, small models to answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as Library
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from cutaway.config import FeedForwardConfig, ModelConfig, PositionConfig
from cutaway.data import Marked, Question
from cutaway.text import SpecialRoles, Tokenizer
from cutaway.weights import checkpoint
from tests import tiny

CONTEXTS = (
    "The old mill stands by the river Orne.  It was built in 1782 by Anna Keller, a miller's daughter from Trier; she paid "
    "4,000 thalers for the land.\nWhen the river rose in 1861, the wheel broke, and the mill ground no corn for nine years.",
    "Café Müller opened in the former stable. Its owner, Jean-Luc Étienne (born 1950), bakes “Apfelkuchen” each morning at five.",
    "The bridge has three arches. Trains cross it twice a day: to Caen at noon, and back at night.",
)
ASKED: tuple[tuple[int, str, tuple[str, ...]], ...] = (
    (0, "Who built the mill?", ("Anna Keller", "Anna Keller, a miller's daughter from Trier")),
    (0, "When was it built?", ("1782", "in 1782")),
    (0, "Which river rose?", ("Orne", "the river Orne")),
    (0, "How long did the mill rest?", ("nine years", "for nine years")),
    (0, "Who tore the mill down?", ()),
    (1, "Who owns the café?", ("Jean-Luc Étienne", "Étienne")),
    (1, "What does he bake?", ("Apfelkuchen", "“Apfelkuchen”")),
    (1, "Where did it open?", ("in the former stable", "the former stable")),
    (1, "Who owned the stable?", ()),
    (2, "How many arches are there?", ("three", "three arches")),
    (2, "Where do trains go at noon?", ("Caen", "to Caen")),
    (2, "Who built the bridge?", ()),
)
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
ROBERTA_SPECIALS = ["<s>", "<pad>", "</s>", "<unk>"]


def squad() -> dict[str, Any]:
    """The whole file: two articles, three paragraphs."""

    def asked(number: int) -> list[dict[str, Any]]:
        return [
            {
                "id": str(index),
                "question": text,
                "answers": [{"text": each, "answer_start": CONTEXTS[at].index(each)} for each in answers],
                "is_impossible": not answers,
            }
            for index, (at, text, answers) in enumerate(ASKED)
            if at == number
        ]

    paragraphs = [{"context": context, "qas": asked(number)} for number, context in enumerate(CONTEXTS)]
    articles = [{"title": "Mill", "paragraphs": paragraphs[:2]}, {"title": "Bridge", "paragraphs": paragraphs[2:]}]
    return {"version": "v2.0", "data": articles}


def write(folder: Path, name: str = "asked.json", change: Callable[[Any], object] = lambda _: None) -> Path:
    """The file. change: is given the content before it is written."""
    content = squad()
    change(content)
    (folder / name).write_text(json.dumps(content), "utf-8")
    return folder / name


def questions() -> list[Question]:
    """What a reader should find in it."""
    return [
        Question(
            id=str(index),
            text=text,
            context=CONTEXTS[at],
            answers=tuple(Marked(each, CONTEXTS[at].index(each)) for each in answers),
        )
        for index, (at, text, answers) in enumerate(ASKED)
    ]


def texts() -> list[str]:
    """Contexts and questions, to train tokenizers on."""
    return [*CONTEXTS, *(text for _, text, _ in ASKED)]


@cache
def wordpiece() -> Tokenizer:
    """BERT-like: lower case, [CLS] question [SEP] context [SEP], types 0 and 1. Half of the words are one token each."""
    lowercase = normalizers.BertNormalizer(lowercase=True)
    words = sorted(set(re.findall(r"\w+|[^\w\s]", lowercase.normalize_str(" ".join(texts())))))
    letters = sorted(set("".join(words)))
    spelled = dict.fromkeys([*SPECIALS, *letters, *(f"##{letter}" for letter in letters), *words[::2]])
    library = Library(models.WordPiece({token: index for index, token in enumerate(spelled)}, unk_token="[UNK]"))
    library.add_special_tokens(SPECIALS)
    library.normalizer = lowercase
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    library.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return Tokenizer(library, SpecialRoles(pad=0, unk=1, cls=2, sep=3))


@cache
def byte_level() -> Tokenizer:
    """RoBERTa-like: bytes, <s> question </s></s> context </s>, all of type 0."""
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=ROBERTA_SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    library.train_from_iterator(texts(), trainer)
    library.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), add_prefix_space=False)
    return Tokenizer(library, SpecialRoles(bos=0, pad=1, eos=2, unk=3, cls=0, sep=2))


TOKENIZERS = {"wordpiece": wordpiece, "byte-level": byte_level}


def config(tokenizer: Tokenizer, **knobs: Any) -> ModelConfig:
    """An encoder of two layers for a tokenizer, with labels unless knobs say otherwise."""
    stack = tiny.stack(
        placement="post",
        position=PositionConfig(kind="learned"),
        feedforward=FeedForwardConfig(d_hidden=24, activation="gelu"),
        has_embedding_norm=True,
        has_final_norm=False,
        num_token_types=2,
    )
    defaults = {"context": 128, "is_tied": True, "has_head": False, "num_labels": 2}
    return tiny.config(encoder=stack, vocab_size=tokenizer.vocab_size, **{**defaults, **knobs})


def reader(folder: Path, *, seed: int = 1, **knobs: Any) -> Path:
    """A model with random weights that marks spans, and its tokenizer, in a directory."""
    tokenizer = wordpiece()
    checkpoint.save(folder, tiny.model(config(tokenizer, **knobs), seed=seed), tokenizer_files=tokenizer.save)
    return folder

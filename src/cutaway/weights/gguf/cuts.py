"""How text is cut into pieces before anything merges. In: the name that a file gives its rule. Out: the rule, and its name back.

`tokenizer.ggml.pre` names a rule that llama.cpp has in its code (src/llama-vocab.cpp, llm_tokenizer_bpe). Here each is written
as the pre-tokenizer of the `tokenizers` library that it was made after, so that both cut alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

State = Mapping[str, Any]

_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+ENDING"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*ENDING"
    r"|DIGITS| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """One rule. names: of the rule in files; the first is the one that is written.

    steps: states of pre-tokenizers, without the bytes at the end. normalizes: to composed characters (NFC) beforehand.
    ignores_merges: a piece that is a token stays one, whatever the merges say. adds_bos: before a text, where a file is silent.
    """

    names: tuple[str, ...]
    steps: tuple[State, ...]
    normalizes: bool = False
    ignores_merges: bool = False
    adds_bos: bool = False

    def pre_tokenizer(self) -> State:
        """The whole state, as a tokenizer.json has it."""
        has_own = not any(step["type"] == "Split" for step in self.steps)
        steps = [*self.steps, _in_bytes(use_regex=has_own)]
        return {"type": "Sequence", "pretokenizers": steps} if self.steps else steps[0]

    def normalizer(self) -> State | None:
        """Its state, or None."""
        return {"type": "NFC"} if self.normalizes else None


def find_cut(name: str) -> Cut | None:
    """The rule of this name."""
    return next((cut for cut in CUTS if name in cut.names), None)


def cut_of(pre_tokenizer: State | None, normalizer: State | None, *, ignores_merges: bool) -> Cut | None:
    """The rule that a tokenizer.json follows; None where llama.cpp has none that cuts alike."""
    wanted = (_flat(pre_tokenizer), normalizer, ignores_merges)
    return next(
        (
            cut
            for cut in CUTS
            if (_flat(cut.pre_tokenizer()), cut.normalizer(), cut.ignores_merges) == wanted
            and cut.names[0] != "default"
        ),
        None,
    )


def _flat(state: State | None) -> list[dict[str, Any]]:
    """The steps of a pre-tokenizer, without what does not bear on ids."""
    if state is None:
        return []
    if state["type"] == "Sequence":
        return [step for inner in state["pretokenizers"] for step in _flat(inner)]
    return [{key: value for key, value in state.items() if key != "trim_offsets"}]


def _split(pattern: str) -> State:
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def _in_bytes(*, use_regex: bool) -> State:
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


_DIGITS: State = {"type": "Digits", "individual_digits": True}
_THREE = r"\p{N}{1,3}"

CUTS = (
    Cut(("smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b", "mellum"), (_DIGITS,)),
    Cut(
        ("gpt-2", "phi-2", "roberta-bpe", "olmo", "mpt", "jais", "trillion", "granite-docling", "jina-es", "jina-de"),
        (),
    ),
    Cut(
        ("llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"),
        (_split(_CL100K.replace("DIGITS", _THREE)),),
        ignores_merges=True,
        adds_bos=True,
    ),
    Cut(("dbrx", "smaug-bpe", "chatglm-bpe", "glm4"), (_split(_CL100K.replace("DIGITS", _THREE)),)),
    Cut(
        ("qwen2", "deepseek-r1-qwen", "megrez", "stablelm2", "hunyuan"),
        (_split(_CL100K.replace("DIGITS", r"\p{N}")),),
        normalizes=True,
    ),
    Cut(
        ("gpt-4o", "llama4"),
        (_split(_O200K.replace("ENDING", r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?").replace("DIGITS", _THREE)),),
    ),
    Cut(
        ("tekken",),
        (_split(_O200K.replace("ENDING", "").replace("DIGITS", r"\p{N}")),),
        ignores_merges=True,
        adds_bos=True,
    ),
    Cut(
        ("default",),
        tuple(map(_split, (r"[\p{P}\$\+<=>\^~\|]+", _WORDS, r"\p{N}+", r"[0-9][0-9][0-9]"))),
    ),
)

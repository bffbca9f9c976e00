"""A run as the page receives it. In: a `Pass`. Out: the `RunAnswer` of docs/reference/microscope.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from ...cost import num_parameters
from ...lens.inputs import order_of
from ...lens.tokens import WayToken
from ...lens.words import Words
from .passes import Pass, Strand
from .reading import shown, unmarked
from .words import text_of

NUM_NEXT = 8


def answer_of(found: Pass) -> dict[str, Any]:
    """Everything but the tensors."""
    cut = found.strands[0].reading.cut or found.main.reading.cut
    return {
        "run": found.ask.name,
        "model": model_of(found),
        "text": found.strands[0].reading.text,
        "target": found.main.reading.text if found.main.source is not None else None,
        "cut": None if cut is None else asdict(cut),
        "seconds": found.seconds,
        "stacks": [_stack(found, strand) for strand in found.strands],
    }


def model_of(found: Pass) -> dict[str, Any]:
    """The model on a card; sizes are those of its last stack."""
    opened, config = found.opened, found.opened.lm.config
    stack = config.main
    return {
        "name": opened.name,
        "kind": opened.kind,
        "predicts": None if found.model.head is None else ("itself" if config.decoder is None else config.predicts),
        "mask": opened.tokenizer.roles.mask,
        "has_tokenizer": opened.has_tokenizer,
        "num_layers": stack.num_layers,
        "num_heads": stack.attention.num_heads,
        "kv_heads": stack.attention.kv_heads,
        "d_model": stack.d_model,
        "d_head": stack.d_head,
        "d_hidden": stack.feedforward.d_hidden,
        "num_experts": 0 if stack.feedforward.experts is None else stack.feedforward.experts.num_experts,
        "vocab_size": config.vocab_size,
        "context": config.context,
        "position_kind": stack.position.kind,
        "adds_positions": stack.position.is_table,
        "order": order_of(stack),
        "parameters": num_parameters(config),
        "num_joins": len(opened.tokenizer.merge_ranks),
        "layers_shown": stack.num_layers,
    }


def columns_of(found: Pass, strand: Strand) -> list[str]:
    """The sites of the stream, in order."""
    config = found.opened.lm.config
    stack = config.encoder if strand.name == "encoder" else config.main
    assert stack is not None, "a strand has a stack"
    parts = ["token", "position", "sum"] if stack.position.is_table else ["token", "sum"]
    ends = [f"layers.{layer}.residual.end" for layer in range(stack.num_layers)]
    return [strand.scope + site for site in [*(f"embedding.{part}" for part in parts), *ends]]


def guess_of(words: Words, token_id: int, chance: float) -> dict[str, Any]:
    """A token that an output makes likely."""
    return {"id": token_id, "text": text_of(words, token_id), "chance": chance}


def likeliest(words: Words, logits: Tensor, count: int) -> list[dict[str, Any]]:
    """The likeliest tokens. logits: [vocab]."""
    best, ids = logits.double().softmax(-1).topk(min(count, len(logits)))
    return [guess_of(words, i, c) for i, c in zip(ids.tolist(), best.tolist(), strict=True)]


@torch.inference_mode()
def _stack(found: Pass, strand: Strand) -> dict[str, Any]:
    words, config = found.opened.words, strand.config
    predicts = strand is found.main and found.model.head is not None
    last = len(strand) - 1
    return {
        "name": strand.name,
        "rule": strand.reading.rule,
        "num_layers": config.num_layers,
        "num_heads": config.attention.num_heads,
        "tokens": _tokens(words, strand.reading.tokens),
        "columns": [{"site": site} for site in columns_of(found, strand)],
        "next": likeliest(words, found.logits(last, last + 1)[0], NUM_NEXT) if predicts else [],
    }


def _tokens(words: Words, tokens: Sequence[WayToken]) -> list[dict[str, Any]]:
    """Each token; what is the same wherever it stands is made once, for a long text holds few words and many tokens."""
    kinds: dict[object, dict[str, Any]] = {}
    found = []
    for token in tokens:
        key = (token.id, token.bytes, token.symbols, token.joins)
        if key not in kinds:
            kinds[key] = _kind(words, token)
        found.append({**kinds[key], "start": token.start, "end": token.end})
    return found


def _kind(words: Words, token: WayToken) -> dict[str, Any]:
    return {
        "id": token.id,
        "text": (shown(token.bytes) or token.text) if token.bytes else token.text,
        "role": words.role(token.id),
        "bytes": token.bytes.hex(),
        "symbols": [unmarked(symbol) for symbol in token.symbols],
        "joins": [
            {"rank": j.rank, "left": unmarked(j.left), "right": unmarked(j.right), "result": unmarked(j.result)}
            for j in token.joins
        ],
    }

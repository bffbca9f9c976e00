"""What the page asks about a run. In: the run and an ask. Out: mappings for JSON, as docs/reference/microscope.md has them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F

from ...errors import CutawayError
from ...lens.attending import HIDDEN, Block
from ...lens.embeddings import map_of, position_similarity
from ...lens.inputs import neighbours, order_of
from ...lens.stream import would_say
from .asks import AskEmbedding, AskHead, AskPosition, AskSays, AskToken
from .attended import Survey, heads_of, survey
from .described import columns_of, guess_of
from .passes import Pass, Strand
from .words import text_of

MOST_SAYS, SAYS_AT_ONCE = 512, 64  # rows of one answer, and those that are read together
MOST_SOURCES = 64
MOST_NEIGHBOURS = 100
MOST_OF_TEXT = 40  # words of the text on a map
MOST_POSITIONS = 256  # rows of a table in one answer


@torch.inference_mode()
def says_of(found: Pass, ask: AskSays) -> dict[str, Any]:
    """The logit lens: what each column of the last stack would say."""
    if found.model.head is None:
        raise CutawayError("This model has no head: it says no words at any depth.")
    if len(ask.rows) != 2 or not 0 <= ask.rows[0] < ask.rows[1] <= len(found.main):
        raise CutawayError(f"rows is {list(ask.rows)}. It takes [begin, end], from 0 to {len(found.main)}.")
    first, end = ask.rows[0], min(ask.rows[1], ask.rows[0] + MOST_SAYS)
    columns = [site for site in columns_of(found, found.main) if site.endswith((".sum", ".end"))]
    words, said = found.opened.words, []
    for site in columns:
        parts = found.tensor(site)[first:end].split(SAYS_AT_ONCE)
        best, ids = (
            torch.cat(each) for each in zip(*(would_say(found.model, p[None])[0].max(-1) for p in parts), strict=True)
        )
        said.append([guess_of(words, i, c) for i, c in zip(ids.tolist(), best.tolist(), strict=True)])
    return {"columns": columns, "first": first, "rows": [list(row) for row in zip(*said, strict=True)]}


@torch.inference_mode()
def embedding_of(found: Pass, ask: AskEmbedding) -> dict[str, Any]:
    """The words whose rows of the token table are nearest, and where they lie on a map."""
    strand, opened = found.strand(ask.stack), found.opened
    if not 1 <= ask.count <= MOST_NEIGHBOURS:
        raise CutawayError(f"count is {ask.count}. It is from 1 to {MOST_NEIGHBOURS}.")
    token_id = strand.reading.tokens[strand.check(ask.token)].id
    table, words = found.model.token.weight.detach().cpu(), opened.words
    (nearest,) = neighbours(table, [token_id], words, ask.count)
    scale = found.model.token.scale
    near = [
        {"id": n.id, "text": text_of(words, n.id), "cosine": n.cosine, "vector": (table[n.id] * scale).tolist()}
        for n in nearest
    ]
    around = dict.fromkeys(token.id for token in strand.reading.tokens)
    ids = list(dict.fromkeys([token_id, *(n.id for n in nearest), *list(around)[:MOST_OF_TEXT]]))
    return {"neighbours": near, "map": _map(found, ids) if len(ids) > 2 else None}


def _map(found: Pass, ids: list[int]) -> dict[str, Any]:
    """Words in the plane of their two widest directions; share: of their spread."""
    words = found.opened.words
    seen = map_of(found.model, words, ids)
    pairs = zip(seen.ids, seen.points, strict=True)
    points = [{"id": i, "text": text_of(words, i), "x": x, "y": y} for i, (x, y) in pairs]
    return {"points": points, "share": sum(seen.shares)}


@torch.inference_mode()
def position_of(found: Pass, ask: AskPosition) -> dict[str, Any]:
    """How the token's place reaches the model, and its shares of the vector that enters the first layer."""
    strand = found.strand(ask.stack)
    token = strand.check(ask.token)
    config = found.opened.lm.config
    stack = config.encoder if strand.name == "encoder" else config.main
    assert stack is not None, "a strand has a stack"
    parts = [found.tensor(f"{strand.scope}embedding.{part}") for part in ("token", "position", "sum")]
    word, place, total = (part[token].double() for part in parts)
    squares = float(word @ word + place @ place)
    num_rows = min(MOST_POSITIONS, config.context)
    has_rows = strand.config.position.kind in ("learned", "sinusoidal", "rotary") and token < num_rows
    similar = position_similarity(found.model, num_rows, of_encoder=strand.name == "encoder") if has_rows else None
    has_table = ask.table and strand.config.position.is_table
    table = strand.stack.embedding.position(torch.arange(num_rows, device=place.device)[None])[0] if has_table else None
    position_share = float(place @ place) / squares if squares else 0.0
    return {
        "kind": strand.config.position.kind,
        "order": order_of(strand.config),
        "table": None if table is None else table.tolist(),
        "similarity": None if similar is None else list(similar.cosines[token]),
        "word_share": 1.0 - position_share,
        "position_share": position_share,
        "lengths": [float(part.norm()) for part in (word, place, total)],
    }


@torch.inference_mode()
def heads_answer(found: Pass, ask: AskToken) -> dict[str, Any]:
    """What every head of every stack does on this text, and what it takes for the token looked at.

    token: of the last stack; in the encoder of a pair, which has other tokens, it is not looked for.
    """
    found.main.check(ask.token)
    return {"heads": [each for place in _places(found) for each in _summaries(found, *place, ask.token)]}


@torch.inference_mode()
def head_answer(found: Pass, ask: AskHead) -> dict[str, Any]:
    """One query of one head, number by number: everything that its weights and its mix were computed from."""
    strand = found.strand(ask.stack)
    heads = heads_of(found, strand, ask.layer, ask.block)
    token, head = strand.check(ask.token), strand.head(ask.head)
    one, row, kv = slice(head, head + 1), torch.tensor([token]), heads.kv_head(head)
    query, num_keys = heads.q[head, token], heads.k.shape[1]
    weights = F.pad(heads.weights(row, one)[0, 0], (0, num_keys))[:num_keys]
    scores = F.pad(heads.scores(row, one)[0, 0], (0, num_keys), value=HIDDEN)[:num_keys]
    order = torch.sort(weights, descending=True, stable=True).indices[:MOST_SOURCES]
    products = heads.k[kv, order] @ query
    mixed = found.tensor(f"{strand.scope}layers.{ask.layer}.{ask.block}.mixed")[head, token]
    others = num_keys - len(order)
    return {
        "query": query.tolist(),
        "keys": heads.k[kv, order].tolist(),
        "values": heads.v[kv, order].tolist(),
        "products": products.tolist(),
        "scaled": (products * heads.spec.scale).tolist(),
        "scores": [None if score == HIDDEN else score for score in scores[order].tolist()],
        "weights": weights[order].tolist(),
        "mixed": mixed.tolist(),
        "scale": heads.spec.scale,
        "softcap": heads.spec.softcap,
        "has_bias": heads.has_bias,
        "kv_head": kv,
        "others": {"count": others, "weight": max(0.0, 1.0 - float(weights[order].double().sum())) if others else 0.0},
        "sources": order.tolist(),
    }


def _places(found: Pass) -> Iterator[tuple[Strand, int, Block]]:
    """Every layer of heads, in the order of the way."""
    for strand in found.strands:
        for layer in range(strand.config.num_layers):
            yield strand, layer, "attention"
            if strand.source is not None:
                yield strand, layer, "cross"


def _summaries(found: Pass, strand: Strand, layer: int, block: Block, token: int) -> Iterator[dict[str, Any]]:
    seen, heads = survey(found, strand, layer, block), heads_of(found, strand, layer, block)
    weights = heads.weights(torch.tensor([token]))[:, 0] if strand is found.main else None
    for head in range(len(heads.q)):
        source = None if weights is None else int(weights[head].argmax())
        yield {
            "stack": strand.name,
            "layer": layer,
            "head": head,
            "block": block,
            "label": label_of(seen, head, block),
            "measured": {
                "first": seen.first[head],
                "itself": seen.itself[head] if block == "attention" else None,
                "previous": seen.previous[head] if block == "attention" else None,
                "spread": seen.spread[head],
                "source": source,
                "weight": None if weights is None or source is None else float(weights[head, source]),
            },
        }


def label_of(seen: Survey, head: int, block: Block) -> str:
    """The word for what was measured: where half of the weight goes, or that it goes everywhere alike; else mixed."""
    shares = {"first": seen.first[head]}
    if block == "attention":
        shares |= {"itself": seen.itself[head], "previous": seen.previous[head]}
    name = max(shares, key=lambda each: shares[each])
    if shares[name] >= 0.5:
        return name
    return "spread" if seen.spread[head] >= 0.5 else "mixed"

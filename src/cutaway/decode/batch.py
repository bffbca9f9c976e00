"""Many sources at once. In: an encoder-decoder and source ids. Out: the best hypotheses for each, as `hypotheses` finds them.

Sources of like length are encoded in one padded pass, and every layer's keys and values of them are computed once. Then all beams
of all sources take each step together: a row of the batch is one beam, rows are reordered as beams overtake each other, and a
source that is done leaves. All rows begin in the same step, so no row of the decoder is ever padded. Slow twin: `hypotheses`.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor

from ..errors import CutawayError
from ..model.call import Attend, Call, Memory
from ..model.transformer import Transformer
from ..model.visibility import Tokens, causal, padded
from ..runtime.attend import fused
from ..runtime.stores import KVStore
from .autoregressive import first_id
from .beam import Beam, Hypothesis, Plan, Search, make_plan
from .session import check_ids, check_places, check_source, places

SHORT = 16  # tokens that a store has room for at first


def hypotheses_of_sources(
    model: Transformer,
    sources: Sequence[Sequence[int]],
    beam: Beam,
    *,
    max_tokens: int,
    eos_ids: Collection[int] | None = None,
    prompt_ids: Sequence[int] = (),
    batch_size: int = 64,
    attend: Attend | None = fused,
) -> list[list[Hypothesis]]:
    """The num_return best hypotheses for each source, best first, in the order of the sources.

    prompt_ids: what every text begins with; empty: the model's own start id. eos_ids: as `autoregressive`. batch_size: sources in
    one batch. attend: as `Session`. Raises CutawayError for a model without encoder and decoder, and for what a session refuses.
    """
    if batch_size < 1:
        raise CutawayError(f"batch_size is {batch_size}. It must be at least 1.")
    for source in sources:
        check_source(model, source)
    config = model.config
    begin = tuple(prompt_ids) or (first_id(config),)
    check_ids(begin, config.vocab_size)
    limit = places(config.main, model)
    check_places(len(begin), limit)
    plan = make_plan(config, beam, max_tokens, eos_ids, None if limit is None else limit - len(begin) + 1)
    order = sorted(range(len(sources)), key=lambda index: len(sources[index]))  # like lengths together: little padding
    found: list[list[Hypothesis]] = [[] for _ in sources]
    for start in range(0, len(order), batch_size):
        part = order[start : start + batch_size]
        for index, best in zip(part, _batch(model, [sources[i] for i in part], begin, plan, attend), strict=True):
            found[index] = best
    return found


@torch.inference_mode()
def _batch(
    model: Transformer, sources: Sequence[Sequence[int]], begin: Sequence[int], plan: Plan, attend: Attend | None
) -> list[list[Hypothesis]]:
    searches = [Search(plan) for _ in sources]
    rows = _Rows(model, sources, begin, attend)
    live = list(range(len(sources)))
    while True:
        log_probs, ids = plan.candidates(rows.forward(), rows.ids, rows.ids.shape[1] - len(begin))
        parents: list[int] = []
        first = 0
        for owner in live:
            search, end = searches[owner], first + len(searches[owner].live)
            parents += [first + parent for parent in search.advance(log_probs[first:end], ids[first:end])]
            first = end
        live = [owner for owner in live if searches[owner].live]
        if not live:
            break
        texts = [(owner, text.ids[-1]) for owner in live for text in searches[owner].live]
        rows.go_on(parents, [owner for owner, _ in texts], [token for _, token in texts])
    return [search.found for search in searches]


class _Rows:
    """The decoder's side of a batch. ids: all that each row holds, [batch, position]; owners: the source of each row."""

    def __init__(
        self, model: Transformer, sources: Sequence[Sequence[int]], begin: Sequence[int], attend: Attend | None
    ) -> None:
        self.model, self.attend = model, attend
        self.device = model.token.weight.device
        self.sources = _remember(model, sources, attend, self.device)
        self.memory, self.owners = self.sources, list(range(len(sources)))
        self.ids = torch.tensor(begin, device=self.device).expand(len(sources), -1)
        with self.device:
            dtype = model.token.weight.dtype
            self.store = KVStore(model.config.main, batch=len(sources), capacity=SHORT, dtype=dtype)

    def forward(self) -> Tensor:
        """One pass over the ids that are not in the store: the logits of each row's next token, [batch, vocab]."""
        new = self.ids[:, self.store.length :]
        call = Call(causal(new.shape[1], self.store.length, device=self.device), self.attend, self.store, self.memory)
        return self.model.logits(self.model.states(new, call)[:, -1:], call)[:, 0]

    def go_on(self, parents: Sequence[int], owners: list[int], tokens: Sequence[int]) -> None:
        """Row b continues what row parents[b] held with tokens[b], for the source owners[b]."""
        if list(parents) != list(range(len(self.owners))):
            rows = torch.tensor(parents, device=self.device)
            self.store.reorder(rows)
            self.ids = self.ids[rows]
        if owners != self.owners:
            self.memory, self.owners = self.sources.select(torch.tensor(owners, device=self.device)), owners
        self.ids = torch.cat([self.ids, torch.tensor(tokens, device=self.device).unsqueeze(1)], dim=1)


def _remember(
    model: Transformer, sources: Sequence[Sequence[int]], attend: Attend | None, device: torch.device
) -> Memory:
    """All sources, read in one pass."""
    lengths = [len(source) for source in sources]
    width = max(lengths)
    ids = torch.tensor([[*source, *[source[0]] * (width - len(source))] for source in sources], device=device)
    tokens = padded(lengths, width, is_causal=False)
    call = Call(Tokens(tokens.fields.to(device)), attend)
    return model.fill(model.encode(ids, call), call)

"""Who sees whom: the predicate against its slow twin, the shapes, and that every flag is a promise that holds."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from cutaway.model import Tokens, layouts, visibility
from cutaway.model.transformer import choose_flag, make_frame
from cutaway.runtime.stores import KVStore, PackedStore
from tests import tiny
from tests.reference.visibility import Token, table

token = st.builds(
    Token,
    known=st.integers(0, 4) | st.just(visibility.NEVER),
    reads=st.integers(-1, 4),
    group=st.integers(-1, 2),
    rank=st.integers(0, 2),
    segment=st.integers(-2, 2),
    position=st.integers(0, 9),
)
rows = st.lists(token, min_size=1, max_size=7)
windows = st.none() | st.integers(1, 9)
sinks = st.integers(0, 3)


def tokens_of(row: list[Token]) -> Tokens:
    values = [[getattr(item, name) for item in row] for name in visibility.FIELDS]
    return Tokens(torch.tensor(values).unsqueeze(1))


def seen(tokens: Tokens, window: int | None = None, sinks: int = 0) -> list[str]:
    """The mask of the first row as text, one line a query: `x` sees, `.` does not."""
    mask = visibility.allow(tokens, tokens, window, sinks)[0].tolist()
    return ["".join("x" if cell else "." for cell in line) for line in mask]


@given(rows, rows, windows, sinks)
def test_the_predicate_equals_its_slow_twin(
    queries: list[Token], keys: list[Token], window: int | None, sinks: int
) -> None:
    fast = visibility.allow(tokens_of(queries), tokens_of(keys), window, sinks)
    assert fast[0].tolist() == table(queries, keys, window, sinks)


def test_causal() -> None:
    assert seen(visibility.causal(4)) == ["x...", "xx..", "xxx.", "xxxx"]


def test_full() -> None:
    assert seen(visibility.full(3)) == ["xxx"] * 3


def test_prefix_is_full_inside_and_causal_after() -> None:
    tokens = visibility.prefix([3, 1], 5)
    assert seen(tokens) == ["xxx..", "xxx..", "xxx..", "xxxx.", "xxxxx"]
    second = visibility.allow(tokens, tokens)[1]
    assert torch.equal(second, torch.ones(5, 5).tril().bool())


def test_packed_documents_never_see_each_other() -> None:
    segments, positions = torch.tensor([[0, 0, 1, 1, -1]]), torch.tensor([[0, 1, 0, 1, 0]])
    assert seen(visibility.packed(segments, positions)) == ["x....", "xx...", "..x..", "..xx.", "....x"]
    both_ways = visibility.packed(segments, positions, is_causal=False)
    assert seen(both_ways) == ["xx...", "xx...", "..xx.", "..xx.", "....x"]


def test_padding_stays_apart_on_either_side() -> None:
    right = visibility.padded([2], 4, is_causal=True)
    assert seen(right) == ["x...", "xx..", "..x.", "..xx"]
    assert right.position[0, :2].tolist() == [0, 1]
    left = visibility.padded([2], 4, is_causal=True, left=True)
    assert [line[2:] for line in seen(left)[2:]] == ["x.", "xx"]
    assert [line[:2] for line in seen(left)[2:]] == ["..", ".."]
    assert left.position[0, 2:].tolist() == [0, 1]


def test_a_window_counts_positions_not_indices() -> None:
    assert seen(visibility.causal(5), window=2) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]
    apart = visibility.build(
        known=torch.tensor([[0, 1, 2]]), reads=torch.tensor([[0, 1, 2]]), position=torch.tensor([[0, 10, 11]])
    )
    assert seen(apart, window=2) == ["x..", ".x.", ".xx"]


def test_a_window_of_a_full_stack_looks_both_ways() -> None:
    assert seen(visibility.full(4), window=2) == ["xx..", "xxx.", ".xxx", "..xx"]


def test_sinks_stay_visible_through_a_window() -> None:
    assert seen(visibility.causal(5), window=2, sinks=1) == ["x....", "xx...", "xxx..", "x.xx.", "x..xx"]


def test_a_source_is_seen_whole_within_its_segment() -> None:
    queries = visibility.padded([1, 3], 3, is_causal=True).as_queries_of_memory()
    keys = visibility.padded([2, 4], 4, is_causal=False)
    allowed = visibility.allow(queries, keys)
    assert allowed[0, 0].tolist() == [True, True, False, False]
    assert allowed[1].all()


@given(rows)
def test_cross_attention_reads_at_time_zero_and_has_no_peers(row: list[Token]) -> None:
    queries = tokens_of(row).as_queries_of_memory()
    assert not queries.reads.any()
    assert (queries.group == visibility.NO_PEERS).all()
    assert queries.segment[0].tolist() == [item.segment for item in row]


def test_a_source_read_causally_is_seen_whole_but_for_what_is_never_known() -> None:
    source = tokens_of([Token(0, 0, -1, 0, 0, 0), Token(1, 1, -1, 0, 0, 1), Token(visibility.NEVER, 2, 3, 0, 0, 2)])
    allowed = visibility.allow(visibility.causal(2).as_queries_of_memory(), source.as_memory())
    assert allowed.tolist() == [[[True, True, False]] * 2]


def test_joined_rows_keep_to_themselves() -> None:
    row = visibility.join([visibility.causal(2), visibility.full(2), visibility.causal(1, start=7)])
    assert seen(row) == ["x....", "xx...", "..xx.", "..xx.", "....x"]
    assert row.flag == "packed"


def test_a_token_that_is_never_known_is_seen_by_peers_alone() -> None:
    tokens = tokens_of(
        [Token(0, 0, -1, 0, 0, 0), Token(visibility.NEVER, 0, 3, 0, 0, 1), Token(visibility.NEVER, 0, 3, 1, 0, 2)]
    )
    assert seen(tokens) == ["x..", "xx.", "xxx"]


def promised(flag: str, num_queries: int, num_keys: int) -> Tensor:
    """What a kernel does under a flag: `causal` is top-left aligned, `full` hides nothing."""
    whole = torch.ones(num_queries, num_keys, dtype=torch.bool)
    return whole.tril() if flag == "causal" else whole


passes = st.lists(st.tuples(st.sampled_from(["causal", "full", "plain"]), st.integers(1, 5)), min_size=1, max_size=4)


def tokens_for(kind: str, length: int, start: int) -> Tokens:
    if kind == "full":
        return visibility.full(length)
    tokens = visibility.causal(length, start)
    return tokens if kind == "causal" else Tokens(tokens.fields)


@given(passes, st.none() | st.integers(1, 12), sinks)
def test_flags_are_promises_that_hold(steps: list[tuple[str, int]], window: int | None, sinks: int) -> None:
    """Whatever is passed after whatever onto a store, a flag that is chosen says what the predicate says."""
    store, start = KVStore(tiny.stack(), capacity=4), 0
    for kind, length in steps:
        queries = tokens_for(kind, length, start)
        keys = store.begin(queries)
        flag = choose_flag(queries, keys, window)
        dense = visibility.allow(queries, keys, window, sinks)[0]
        assert torch.equal(make_frame(queries, keys, window, sinks).allowed()[0, 0], dense)
        if flag is not None:
            assert torch.equal(dense, promised(flag, length, len(keys))), f"'{flag}' after {steps}"
        start += length


def test_flags_are_chosen_where_they_hold() -> None:
    """The promises are worth something: the common passes need no dense mask."""
    store = KVStore(tiny.stack(), capacity=4)
    prompt, step = visibility.causal(6), visibility.causal(1, 6)
    assert choose_flag(prompt, store.begin(prompt), None) == "causal"
    assert choose_flag(step, store.begin(step), None) == "full"
    several = visibility.causal(2, 7)
    assert choose_flag(several, store.begin(several), None) is None
    assert choose_flag(visibility.full(3), visibility.full(3), None) == "full"


def test_a_window_shorter_than_the_keys_voids_the_flag() -> None:
    tokens = visibility.causal(5)
    assert choose_flag(tokens, tokens, 5) == "causal"
    assert choose_flag(tokens, tokens, 4) is None


def test_a_rewound_store_promises_only_what_is_left() -> None:
    store = KVStore(tiny.stack(), capacity=4)
    store.begin(visibility.causal(3))
    store.begin(visibility.full(2))
    assert store.begin(visibility.causal(1, 5)).flag is None
    store.rewind(3)
    assert store.begin(visibility.causal(1, 3)).flag == "causal"
    store.rewind(2)
    assert store.begin(visibility.full(2)).flag is None, "as long as it was when all of it was causal"


def test_how_many_tokens_go_on_as_a_causal_text() -> None:
    row = torch.cat([visibility.causal(4, 3).fields, layouts.drafting(7, 1, [2]).fields], 2)
    assert visibility.num_causal(Tokens(row), 3) == 5, "the masks do not"
    assert visibility.num_causal(Tokens(row[:, :, :2]), 3) == 2
    assert visibility.num_causal(Tokens(row), 2) == 0, "not from there"
    assert visibility.num_causal(visibility.causal(6), 0) == 6
    assert visibility.num_causal(visibility.full(6), 0) == 0
    for field in range(row.shape[0]):
        other = row.clone()
        other[field, 0, 2] += 1
        assert visibility.num_causal(Tokens(other), 3) == 2, visibility.FIELDS[field]
    both = Tokens(torch.cat([row, row.roll(1, 2)], 1))
    assert visibility.num_causal(both, 3) == 0, "of every row of a batch"


def test_drafts_behind_a_causal_text_leave_it_causal() -> None:
    """What is kept of a pass over drafts and masks goes on being promised."""
    store = KVStore(tiny.stack(), capacity=4)
    store.begin(visibility.causal(3))
    store.begin(layouts.drafting(3, 2, [3, 3]))
    assert (store.causal_length, store.length) == (5, 11)
    store.rewind(5)
    assert store.begin(visibility.causal(1, 5)).flag == "causal"


@pytest.mark.parametrize("window", [None, 2])
def test_the_packed_promise_holds_with_and_without_stores(window: int | None) -> None:
    """Parts that never see each other, with or without what their stores already hold."""
    stores = [KVStore(tiny.stack(), capacity=4) for _ in range(2)]
    for store, length in zip(stores, (3, 2), strict=True):
        store.begin(visibility.causal(length))
    pieces = [visibility.causal(1, 3), visibility.causal(2, 2)]
    row = visibility.join(pieces)
    store = PackedStore(stores, pieces)
    frame = make_frame(row, store.begin(row), window)
    assert frame.flag == "packed"
    owner, key_owner = torch.tensor([0, 1, 1]), torch.tensor([0, 0, 0, 0, 1, 1, 1, 1])
    apart = owner.unsqueeze(1) != key_owner.unsqueeze(0)
    assert not (frame.allowed()[0, 0] & apart).any()
    for piece, keys, rows, columns in zip(pieces, store.keys, ([0], [1, 2]), (slice(0, 4), slice(4, 8)), strict=True):
        own = visibility.allow(piece, keys, window)[0]
        assert torch.equal(frame.allowed()[0, 0][rows, columns], own)

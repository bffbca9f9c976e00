"""Every number that the server gives is one of the pass, or follows from it: compared with `lm.trace` over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

from cutaway.apps.microscope import attended, causes
from cutaway.config import PositionConfig, StackConfig
from cutaway.lens.attending import HIDDEN
from cutaway.lens.rollout import Thread, rollout
from cutaway.lm import LM
from tests import tiny

from .served import BYTES, TEXT, Client, one_stack, reader, served, two_stacks

LENGTH = len(TEXT)
POSITIONS = {
    kind: tiny.stack(position=PositionConfig(kind=kind, num_buckets=8, max_distance=12)) for kind in tiny.POSITIONS
}
STACKS = {**tiny.variants(), **POSITIONS, "window and bias": dict(tiny.every_shape())["alibi-pre-window-grouped"]}


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Client, LM]]:
    lm = two_stacks()
    with served(lm) as (client, _):
        yield client, lm


def close(one: Tensor, other: Tensor, within: float = 1e-5) -> bool:
    """Equal but for the order of sums, and not all alike."""
    return one.shape == other.shape and bool((one - other).abs().max() <= within * max(1.0, float(other.abs().max())))


def matrix(client: Client, run: dict[str, Any], site: str, **part: Any) -> Tensor:
    found = client.get("/api/tensor", run=run["run"], site=site, **part)
    assert found.status == 200, found.data
    return found.matrix


@pytest.mark.parametrize("stack", STACKS.values(), ids=STACKS.keys())
def test_every_site_is_that_of_the_trace(stack: StackConfig) -> None:
    lm = one_stack(stack)
    trace = lm.trace(TEXT)
    with served(lm) as (client, server):
        run = client.run()
        recorded = server.desk.find(run["run"]).trace
        assert {name for name in trace if name not in recorded} == {
            name for name in trace if name.endswith(("scores", "weights", "logits", "feedforward.input"))
        }
        assert all(torch.equal(recorded[name], trace[name]) for name in recorded if name.startswith("embedding"))
        assert all(close(recorded[name], trace[name]) for name in recorded)
        for layer in range(stack.num_layers):
            for head in range(4):
                for name in ("scores", "weights"):
                    site = f"layers.{layer}.attention.{name}"
                    expected, found = trace[site][0, head], matrix(client, run, site, index=head)
                    assert torch.equal(found == HIDDEN, expected == HIDDEN)
                    hidden = expected == HIDDEN
                    assert close(found.masked_fill(hidden, 0), expected.masked_fill(hidden, 0))
        assert close(matrix(client, run, "output.logits"), trace["output.logits"][0])
        row = client.get("/api/logits", run=run["run"], token=3).matrix
        assert close(row, trace["output.logits"][0, 3:4])


def test_parts_of_a_matrix_and_its_pyramid() -> None:
    lm = one_stack()
    trace = lm.trace(TEXT)
    weights, stream = trace["layers.1.attention.weights"][0, 2], trace["layers.0.residual.end"][0]
    with served(lm) as (client, _):
        run = client.run()
        site = "layers.1.attention.weights"
        assert close(matrix(client, run, site, index=2, rows="3:9", columns="1:5"), weights[3:9, 1:5])
        assert close(matrix(client, run, site, index=2, rows=":4", columns="6:"), weights[:4, 6:])
        for level in (1, 2, 4):
            side = 2**level
            for found, whole, pool in (
                (matrix(client, run, site, index=2, level=level), weights, Tensor.amax),
                (matrix(client, run, "layers.0.residual.end", level=level), stream, Tensor.mean),
            ):
                assert found.shape == tuple(-(-size // side) for size in whole.shape)
                for row in range(found.shape[0]):
                    for column in range(found.shape[1]):
                        square = whole[row * side : (row + 1) * side, column * side : (column + 1) * side]
                        assert abs(float(found[row, column]) - float(pool(square))) < 1e-5
        part = matrix(client, run, site, index=2, level=2, rows="5:9", columns="0:8")
        assert torch.equal(part, matrix(client, run, site, index=2, level=2)[1:3, :2]), "beginnings move to a square"
        found = client.get("/api/tensor", run=run["run"], site="layers.0.residual.end")
        assert float(found.headers["X-Deviation"]) == pytest.approx(float(stream.std(correction=0)), rel=1e-6)


@pytest.mark.parametrize("length", [1, 2, 30, 100])
def test_a_long_text_is_swept_in_blocks(length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("ROWS", 16), ("OVERVIEW", 32), ("MOST_NUMBERS", 16 * 100 * 3)):  # three heads at a time
        monkeypatch.setattr(attended, name, value)
    stack = tiny.stack(position=PositionConfig(kind="rotary"), layer_types=tiny.NEAR, pattern=("near", "full"))
    lm = one_stack(stack)
    text = "".join(chr(97 + index * index % 23) for index in range(length))
    trace = lm.trace(text, "*.weights")
    with served(lm) as (client, _):
        run = client.run(text)
        heads = client.post("/api/heads", run=run["run"], token=length - 1).json["heads"]
        assert len(heads) == 8
        for head in heads:
            weights = trace[f"layers.{head['layer']}.attention.weights"][0, head["head"]].double()
            expected = measured(weights, 3 if head["layer"] == 0 else None)
            assert {name: head["measured"][name] for name in expected} == pytest.approx(expected, abs=1e-5)
        for level in (1, 2, 3):  # below, at and above the level of the picture that was kept
            found, side = matrix(client, run, "layers.1.attention.weights", index=3, level=level), 2**level
            for row, column in ((len(found) - 1, 0), (len(found) // 2, len(found) // 3)):
                square = weights[row * side : (row + 1) * side, column * side : (column + 1) * side]
                assert abs(float(found[row, column]) - float(square.max())) < 1e-6


def measured(weights: Tensor, window: int | None) -> dict[str, float]:
    """The measures of one head, by loops. weights: [query, key]."""
    rows = range(1, len(weights)) if len(weights) > 1 else range(1)
    spreads = []
    for row in rows:
        num_seen = min(row + 1, window or row + 1)
        spreads.append(1 / float(weights[row] @ weights[row]) / num_seen)
    strongest = int(weights[-1].argmax())
    return {
        "first": sum(float(weights[row, 0]) for row in rows) / len(rows),
        "itself": sum(float(weights[row, row]) for row in rows) / len(rows),
        "previous": sum(float(weights[row, row - 1]) for row in rows if row) / len(rows),
        "spread": sum(spreads) / len(spreads),
        "source": strongest,
        "weight": float(weights[-1, strongest]),
    }


@pytest.mark.parametrize("name", ["softcap", "head norm", "alibi", "sinks", "one key-value head"])
def test_a_head_is_computed_from_what_is_shown(name: str) -> None:
    lm = one_stack(STACKS[name])
    trace = lm.trace(TEXT)
    with served(lm) as (client, _):
        run = client.run()
        token, layer, head = 11, 1, 3
        found = client.post(
            "/api/head", run=run["run"], layer=layer, head=head, token=token, stack="", block="attention"
        ).json
    kv, base = found["kv_head"], f"layers.{layer}.attention."
    assert kv == head * trace[base + "key"].shape[1] // 4
    assert found["query"] == pytest.approx(trace[base + "query"][0, head, token].tolist(), abs=1e-5)
    assert sorted(found["sources"]) == list(range(LENGTH))
    assert found["weights"] == sorted(found["weights"], reverse=True)
    mixed = torch.zeros(4, dtype=torch.float64)
    for place, source in enumerate(found["sources"]):
        key, value = (torch.tensor(found[part][place]) for part in ("keys", "values"))
        assert close(key, trace[base + "key"][0, kv, source])
        product = sum(a * b for a, b in zip(found["query"], key.tolist(), strict=True))
        assert product == pytest.approx(found["products"][place], abs=1e-4)
        assert found["scaled"][place] == pytest.approx(product * found["scale"], abs=1e-4)
        score, weight = trace[base + "scores"][0, head, token, source], trace[base + "weights"][0, head, token, source]
        is_hidden = float(score) == HIDDEN
        assert found["scores"][place] == (None if is_hidden else pytest.approx(float(score), abs=1e-5))
        assert found["weights"][place] == pytest.approx(float(weight), abs=1e-6)
        mixed = mixed + value.double()[:4] * found["weights"][place]
    assert torch.tensor(found["mixed"][:4]).double().allclose(mixed, atol=1e-5)
    assert found["others"] == {"count": 0, "weight": 0.0}
    assert (found["softcap"], found["has_bias"]) == (STACKS[name].attention.softcap, name == "alibi")


def test_the_strongest_of_many_sources_and_the_rest() -> None:
    lm = one_stack(POSITIONS["rotary"])
    text = "".join(chr(97 + index * 7 % 23) for index in range(150))
    weights = lm.trace(text, "layers.0.attention.weights")["layers.0.attention.weights"][0, 1, 149]
    with served(lm) as (client, _):
        found = client.post("/api/head", run=client.run(text)["run"], layer=0, head=1, token=149).json
    assert len(found["sources"]) == 64
    assert set(found["sources"]) == set(weights.topk(64).indices.tolist())
    assert found["others"]["count"] == 86
    assert found["others"]["weight"] == pytest.approx(1 - float(weights.topk(64).values.sum()), abs=1e-6)


def test_the_logit_lens_says_what_the_head_would() -> None:
    lm = one_stack()
    trace = lm.trace(TEXT)
    with served(lm) as (client, _):
        found = client.post("/api/says", run=client.run()["run"], rows=[4, 9]).json
    assert found["columns"] == ["embedding.sum", "layers.0.residual.end", "layers.1.residual.end"]
    assert found["first"] == 4
    last = trace["output.logits"][0].double().softmax(-1)
    for row, said in enumerate(found["rows"], start=4):
        assert said[-1]["id"] == int(last[row].argmax())
        assert said[-1]["chance"] == pytest.approx(float(last[row].max()), rel=1e-5)
        first = lm.model.main.norm(trace["embedding.sum"][0, row]) @ lm.model.head.projection.weight.T  # type: ignore[union-attr]
        assert said[0]["id"] == int(first.argmax())


def test_causes_add_up() -> None:
    lm = one_stack()
    logits = lm.logits(lm.ids(TEXT))[0, 8]
    with served(lm) as (client, _):
        run = client.run()["run"]
        why = client.post("/api/why", run=run, token=8, word=97, against=98).json
        rollout = client.post("/api/rollout", run=run, stack="", token=8, column=2).json
    assert sum(part["value"] for part in why["parts"]) == pytest.approx(float(logits[97] - logits[98]), abs=1e-4)
    assert why["total"] == pytest.approx(float(logits[97]), abs=1e-4)
    assert [sum(column) for column in rollout["shares"]] == pytest.approx([1.0] * 3)
    assert len(rollout["threads"]) == len(rollout["left_out"]) == 2
    assert rollout["shares"][2] == [1.0 if token == 8 else 0.0 for token in range(LENGTH)]


def test_mixes_are_what_rollout_adds_up(pair: tuple[Client, LM]) -> None:
    client, _ = pair
    run = client.run("abcd", target="xyz")
    rollout = client.post("/api/rollout", run=run["run"], stack="decoder", token=3, column=3).json
    shares, source = torch.tensor(rollout["shares"][3]).double(), torch.zeros(4, dtype=torch.float64)
    for layer in (2, 1, 0):
        source = source + shares @ matrix(client, run, f"decoder.layers.{layer}.cross.mix").double()
        shares = shares @ matrix(client, run, f"decoder.layers.{layer}.mix").double()
        assert shares.tolist() == pytest.approx(rollout["shares"][layer], abs=1e-6)
    assert source.tolist() == pytest.approx(rollout["source"]["shares"][-1], abs=1e-6)
    assert float(shares.sum() + source.sum()) == pytest.approx(1.0, abs=1e-6)
    rollout = client.post("/api/rollout", run=run["run"], stack="encoder", token=1, column=2).json
    shares = torch.tensor(rollout["shares"][2]).double()
    for layer in (1, 0):
        shares = shares @ matrix(client, run, f"encoder.layers.{layer}.mix").double()
        assert shares.tolist() == pytest.approx(rollout["shares"][layer], abs=1e-6)
    assert (rollout["source"], rollout["cross"]) == (None, [])


@pytest.mark.parametrize("most_kept", [attended.MOST_KEPT, 0], ids=["kept", "made each time"])
@pytest.mark.parametrize("kind", ["one stack", "pair"])
def test_rollout_is_that_of_the_lens(kind: str, most_kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attended, "MOST_KEPT", most_kept)
    monkeypatch.setattr(attended, "ROWS", 8)
    monkeypatch.setattr(causes, "ROWS", 8)  # so that most columns have more holders than one block
    lm = one_stack(tiny.stack(num_layers=3)) if kind == "one stack" else two_stacks()
    text, target = "a cat and the dog saw another", "le chat et le chien" if kind == "pair" else None
    trace = lm.trace(text, target=target)
    with served(lm) as (client, server):
        run = client.run(text, target=target)
        last = len(run["stacks"][-1]["tokens"]) - 1
        for token, column in ((last, 3), (last - 2, 3), (last, 2), (0, 1), (last, 0)):
            found = client.post("/api/rollout", run=run["run"], token=token, column=column).json
            expected = rollout(lm.model, trace, token, column, threshold=causes.THINNEST)
            flows = [(found, expected.main), *([] if expected.source is None else [(found["source"], expected.source)])]
            for mine, lens in flows:
                assert torch.allclose(torch.tensor(mine["shares"]), torch.tensor(lens.shares), atol=1e-6)
                assert mine["left_out"] == pytest.approx(lens.left_out, abs=1e-5)
                assert_threads(mine["threads"], lens.threads)
            assert_threads(found["cross"], expected.crossings)
        mixes = [key for key in server.desk.find(run["run"]).kept if key[0] == "mix"]  # type: ignore[index]
        assert bool(mixes) == (most_kept > 0)


def assert_threads(mine: list[list[list[float]]], lens: tuple[tuple[Thread, ...], ...]) -> None:
    """The same threads, but for those whose share is at the threshold itself."""
    assert len(mine) == len(lens)
    for layer, expected in zip(mine, lens, strict=True):
        shares = {(origin, to): share for origin, to, share in layer}
        others = {(thread.origin, thread.to): thread.share for thread in expected}
        for ends in shares.keys() | others.keys():
            thin = causes.THINNEST  # one that only the other counts is at the threshold
            assert shares.get(ends, thin) == pytest.approx(others.get(ends, thin), abs=1e-6), ends


def test_a_unit_and_the_words_that_it_pushes() -> None:
    lm = one_stack()
    trace = lm.trace(TEXT)
    network = lm.model.main.layers[1].feedforward.sublayer
    before, active = (trace[f"layers.1.feedforward.{site}"][0] for site in ("pre", "active"))
    with served(lm) as (client, _):
        run = client.run()["run"]
        strongest = client.post("/api/unit", run=run, stack="", layer=1, token=5, unit=None).json
        found = client.post("/api/unit", run=run, stack="", layer=1, token=5, unit=7).json
    lengths = active[5].abs() * network.output.weight.norm(dim=0)
    assert strongest["unit"] == int(lengths.argmax())
    written = active[5, 7] * network.output.weight[:, 7]
    assert found["value"] == pytest.approx(float(active[5, 7]), abs=1e-5)
    assert found["before"] == pytest.approx(float(before[5, 7]), abs=1e-5)
    assert found["direction"] == pytest.approx(written.tolist(), abs=1e-5)
    assert found["strength"] == pytest.approx(float(written.norm()), rel=1e-4)
    assert found["firing"] == pytest.approx(float((before[:, 7] > 0).double().mean()))
    pushes = lm.model.head.projection.weight @ written  # type: ignore[union-attr]
    ordered = sorted(range(256), key=lambda index: -float(pushes[index]))  # the special tokens behind them are no words
    names = [chr(index) if index < 128 else f"<{index:02x}>" for index in ordered]
    assert (found["toward"], found["away"]) == (names[:5], names[:-6:-1])


@pytest.mark.parametrize("kind", tiny.POSITIONS)
def test_without_positions_no_token_can_tell_its_place(kind: Any) -> None:
    stack = POSITIONS[kind]
    lm = one_stack(stack)
    bare = tiny.model(lm.config, seed=4)
    bare = type(bare)(type(lm.config)(**{**vars(lm.config), "decoder": POSITIONS["none"]}))
    bare.load_state_dict({name: x for name, x in lm.model.state_dict().items() if name in bare.state_dict()})
    expected = LM(bare.eval(), BYTES, "bare").trace(TEXT)
    before = lm.logits(lm.ids(TEXT))
    with served(lm) as (client, server):
        run = client.run(positions=False)
        found = server.desk.find(run["run"])
        assert close(matrix(client, run, "output.logits"), expected["output.logits"][0])
        weights = expected["layers.1.attention.weights"][0, 1]
        assert close(matrix(client, run, "layers.1.attention.weights", index=1), weights)
        assert run["model"]["position_kind"] == kind
        ours, theirs = dict(found.model.named_parameters()), dict(lm.model.named_parameters())
        assert all(ours[name] is theirs[name] for name in ours), "the twin holds the model's own weights"
    assert torch.equal(lm.logits(lm.ids(TEXT)), before), "the model itself stays as it was"


@pytest.mark.parametrize(
    "edit",
    [
        {"site": "layers.0.attention.mixed", "op": "zero", "heads": [2]},
        {"site": "layers.0.attention.weights", "op": "zero", "heads": [1]},
        {"site": "layers.1.attention.scores", "op": "scale", "value": 0.5, "heads": [0]},
        {"site": "layers.1.residual.start", "op": "add", "value": 0.25, "positions": [3]},
        {"site": "output.logits", "op": "set", "value": 0.0},
    ],
    ids=lambda edit: edit["site"],
)
def test_edits_are_those_of_the_trace(edit: dict[str, Any]) -> None:
    lm = one_stack()
    trace, plain = lm.trace(TEXT, edits=[edit]), lm.trace(TEXT)
    assert not torch.equal(trace["output.logits"], plain["output.logits"])
    with served(lm) as (client, server):
        run = client.run(edits=[edit])
        recorded = server.desk.find(run["run"]).trace
        assert edit["site"] in recorded
        assert all(close(recorded[name], trace[name]) for name in recorded)
        assert close(matrix(client, run, "output.logits"), trace["output.logits"][0])
        for layer in range(2):
            site = f"layers.{layer}.attention.weights"
            assert all(close(matrix(client, run, site, index=head), trace[site][0, head]) for head in range(4))
        if "start" in edit["site"]:
            why = client.post("/api/why", run=run["run"], token=3, word=65).json
            added = [part["value"] for part in why["parts"] if part["kind"] == "edit"]
            assert len(added) == 1
            assert sum(part["value"] for part in why["parts"]) == pytest.approx(why["total"], abs=1e-4)


def test_an_encoder_reads_both_ways_and_its_head_is_asked_in_place() -> None:
    lm = reader(tiny.stack(placement="post", has_embedding_norm=True))
    trace = lm.trace(TEXT)
    with served(lm) as (client, _):
        run = client.run()
        assert (run["model"]["kind"], run["model"]["predicts"]) == ("encoder", "itself")
        assert run["stacks"][0]["next"][0]["id"] == int(trace["output.logits"][0, -1].argmax())
        weights = trace["layers.1.attention.weights"][0, 2]
        assert float(weights[0, -1]) > 0
        assert close(matrix(client, run, "layers.1.attention.weights", index=2), weights)
        assert "continues no text" in client.post("/api/generate", run=run["run"]).json["error"]


def test_a_model_without_a_head_says_nothing_and_shows_the_rest() -> None:
    lm = reader(has_head=False)
    with served(lm) as (client, _):
        run = client.run()
        assert run["stacks"][0]["next"] == []
        assert run["model"]["predicts"] is None
        assert "no head" in client.get("/api/logits", run=run["run"], token=0).json["error"]
        assert "no head" in client.post("/api/says", run=run["run"], rows=[0, 2]).json["error"]
        assert "no head" in client.post("/api/why", run=run["run"], token=0, word=1).json["error"]
        assert client.post("/api/heads", run=run["run"], token=2).status == 200
        assert client.post("/api/unit", run=run["run"], layer=0, token=2, stack="").json["toward"] == []


def test_both_stacks_and_what_lies_between(pair: tuple[Client, LM]) -> None:
    client, lm = pair
    trace = lm.trace("abcd", target="xyz")
    run = client.run("abcd", target="xyz")
    source, target = run["stacks"]
    assert [each["name"] for each in run["stacks"]] == ["encoder", "decoder"]
    assert [token["text"] for token in source["tokens"]] == list("abcd")
    assert [token["text"] for token in target["tokens"]][1:] == list("xyz")
    assert (target["tokens"][0]["start"], target["tokens"][0]["end"]) == (0, 0)
    assert (len(source["next"]), len(target["next"])) == (0, 8)
    for site in ("encoder.layers.1.residual.end", "decoder.layers.2.residual.crossed", "decoder.embedding.sum"):
        assert close(matrix(client, run, site), trace[site][0])
    for site in ("encoder.layers.0.attention", "decoder.layers.1.attention", "decoder.layers.2.cross"):
        assert close(matrix(client, run, f"{site}.weights", index=3), trace[f"{site}.weights"][0, 3])
    cross = client.post("/api/head", run=run["run"], stack="decoder", block="cross", layer=2, head=3, token=1).json
    assert cross["weights"] == pytest.approx(
        sorted(trace["decoder.layers.2.cross.weights"][0, 3, 1].tolist())[::-1], abs=1e-6
    )
    heads = client.post("/api/heads", run=run["run"], token=2).json["heads"]
    assert len(heads) == 2 * 4 + 3 * 4 * 2
    assert all(head["measured"]["previous"] is None for head in heads if head["block"] == "cross")
    about = {"run": run["run"], "stack": "encoder", "block": "cross", "layer": 0, "head": 0, "token": 0}
    assert "no cross-attention" in client.post("/api/head", **about).json["error"]


def test_what_a_pair_says_by_itself(pair: tuple[Client, LM]) -> None:
    client, lm = pair
    run = client.run("abcd")
    said = [token["id"] for token in run["stacks"][1]["tokens"]][1:]
    events = [piece.event for piece in lm.stream("abcd", max_tokens=18)]
    expected = [event.new for event in events if event is not None and event.new != BYTES.roles.eos]
    assert said == expected
    lines = client.post("/api/generate", run=run["run"], sampling={"temperature": 0}, max_tokens=5).data.splitlines()
    assert len(lines) == min(6, len(said) + 2), "it is generated from the start"

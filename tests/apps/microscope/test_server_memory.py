"""Generation over HTTP is that of the terminal; bytes for a token are those of cost.py and of the sites of a pass."""

from __future__ import annotations

import json
import threading
from typing import Any

import pytest
import torch

from cutaway.apps.microscope import generating
from cutaway.apps.microscope.asks import AskGenerate, AskMemory, AskRun, AskSpeed
from cutaway.apps.microscope.memory import activation_numbers, arithmetic_of, memory_of
from cutaway.apps.microscope.passes import run_pass
from cutaway.apps.microscope.shelf import Opened, Shelf
from cutaway.apps.microscope.speed import speed_of
from cutaway.cost import bytes_per_generated_token, bytes_per_weight, flops_per_token, num_parameters, used_weights
from cutaway.decode import Sampling
from cutaway.errors import CutawayError
from cutaway.lm import LM
from cutaway.runtime.roofline import Machine
from tests import tiny

from .served import TEXT, Client, one_stack, reader, served, two_stacks

SETTINGS: tuple[dict[str, Any], ...] = (
    {"temperature": 0},
    {"temperature": 0.9, "seed": 7, "top_k": 20},
    {"temperature": 1.2, "top_p": 0.8, "min_p": 0.01, "repetition_penalty": 1.3, "seed": 2},
)


def lines(client: Client, run: str, **ask: Any) -> list[dict[str, Any]]:
    reply = client.post("/api/generate", run=run, **ask)
    assert reply.status == 200, reply.data
    assert reply.headers["Content-Type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.data.splitlines()]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_events_are_those_of_the_stream(settings: dict[str, Any]) -> None:
    lm = one_stack(embedding_scale=5.0)
    expected = [piece.event for piece in lm.stream(TEXT, max_tokens=12, sampling=Sampling(**settings)) if piece.event]
    assert len({event.new for event in expected}) > 2, "a text that varies"
    with served(lm) as (client, _):
        run = client.run()["run"]
        *events, last = lines(client, run, sampling=settings, max_tokens=12)
        assert [event["new"] for event in events] == [event.new for event in expected]
        assert [event["position"] for event in events] == [event.position for event in expected]
        assert [event["probability"] for event in events] == pytest.approx([e.probability for e in expected], rel=1e-4)
        assert [event["pass"] for event in events] == list(range(1, 13))
        assert last["figures"]["text"] == lm.generate(TEXT, max_tokens=12, sampling=Sampling(**settings))
        assert (last["figures"]["num_tokens"], last["figures"]["num_passes"]) == (12, 12)
        assert lines(client, run, sampling=settings, max_tokens=12) == [*events, last], (
            "the log is replayed, seconds too"
        )


def test_edits_and_the_absence_of_positions_hold_while_it_writes() -> None:
    lm = one_stack(embedding_scale=5.0)
    edits = [{"site": "layers.*.attention.mixed", "op": "zero", "heads": [0, 1]}]
    greedy = Sampling(temperature=0)
    plain = [piece.event.new for piece in lm.stream(TEXT, max_tokens=10, sampling=greedy) if piece.event]
    edited = [piece.event.new for piece in lm.stream(TEXT, max_tokens=10, sampling=greedy, edits=edits) if piece.event]
    zero = [{"site": "embedding.position", "op": "zero"}]
    placeless = [
        piece.event.new for piece in lm.stream(TEXT, max_tokens=10, sampling=greedy, edits=zero) if piece.event
    ]
    assert plain != edited
    assert plain != placeless
    with served(lm) as (client, _):
        for asked, expected in (({}, plain), ({"edits": edits}, edited), ({"positions": False}, placeless)):
            run = client.run(**asked)["run"]
            assert [
                event["new"] for event in lines(client, run, sampling={"temperature": 0}, max_tokens=10)[:-1]
            ] == expected


def test_beams_are_searched_too() -> None:
    lm = two_stacks()
    with served(lm) as (client, _):
        run = client.run("abcd")["run"]
        one = lines(client, run, decoder="beam", sampling={"num_beams": 1}, max_tokens=6)
        greedy = lines(client, run, sampling={"temperature": 0}, max_tokens=6)
        assert [event["new"] for event in one[:-1]] == [event["new"] for event in greedy[:-1]]
        assert (
            lines(client, run, decoder="beam", sampling={"num_beams": 4}, max_tokens=6)[-1]["figures"]["num_passes"] > 1
        )


def test_drafts_from_elsewhere_are_replayed_with_the_greedy_text() -> None:
    lm = one_stack(embedding_scale=5.0)
    ask: dict[str, Any] = {"sampling": {"temperature": 0}, "max_tokens": 20}
    ways = {
        "lookup": {"num_drafts": 6, "longest": 2},
        "draft": {"model": "tiny", "num_drafts": 3},  # it drafts for itself
    }
    with served(lm) as (client, _):
        run = client.run()["run"]
        *greedy, _ = lines(client, run, **ask)
        for decoder, settings in ways.items():
            *events, last = lines(client, run, decoder=decoder, settings=settings, **ask)
            final = [event["new"] for event in events if event["kind"] in ("accept", "commit")]
            assert final == [event["new"] for event in greedy]
            kinds = [event["kind"] for event in events]
            assert kinds.count("draft") == kinds.count("accept") + kinds.count("reject") > 0
            assert last["figures"]["num_passes"] == (5 if decoder == "draft" else 20 - kinds.count("accept"))


def test_a_pair_looks_through_its_source() -> None:
    lm = two_stacks()
    with served(lm) as (client, _):
        run = client.run("abcdabcd")["run"]
        found = lines(client, run, decoder="lookup", sampling={"temperature": 0}, max_tokens=12)
        greedy = lines(client, run, sampling={"temperature": 0}, max_tokens=12)
        final = [event["new"] for event in found[:-1] if event["kind"] in ("accept", "commit")]
        assert final == [event["new"] for event in greedy[:-1]]


def test_beams_are_not_searched_by_a_model_of_hidden_tokens() -> None:
    with served(one_stack(predicts="masked")) as (client, _):
        found = client.post("/api/generate", run=client.run()["run"], decoder="beam", sampling={"num_beams": 2})
        assert found.status == 400
        assert "taken token by token, its text would mean nothing" in found.json["error"]


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        ({"sampling": {"temperature": -1}}, "temperature is -1.0. Allowed: 0 (greedy)"),
        ({"sampling": {"top_k": 0}}, "top_k is 0. Allowed: 1 and more"),
        ({"sampling": {"top_p": 2}}, "top_p is 2"),
        ({"sampling": {"temprature": 1}}, "Unknown key 'sampling.temprature'. Did you mean 'temperature'?"),
        ({"sampling": {"seed": "x"}}, "'sampling.seed' is 'x'"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"max_tokens": 10**9}, "max_tokens"),
        ({"decoder": "nix"}, "'decoder' is 'nix'. Allowed: autoregressive, beam"),
        ({"decoder": "lookup", "settings": {"num_drafts": 0}}, "num_drafts is 0. Allowed: 1 token and more"),
        ({"decoder": "draft"}, "Key 'settings.model' is missing"),
        ({"decoder": "draft", "settings": {"model": "nowhere"}}, "nowhere"),
        ({"decoder": "draft", "settings": {"model": "stories"}}, "'stories' cannot draft for 'tiny'"),
        ({"settings": {"num_drafts": 3}}, "settings are for the decoders diffusion, hybrid, lookup and draft"),
    ],
)
def test_settings_are_refused_in_the_words_of_the_terminal(ask: dict[str, Any], words: str) -> None:
    with served(one_stack()) as (client, _):
        found = client.post("/api/generate", run=client.run()["run"], **ask)
        assert found.status == 400
        assert words in found.json["error"]


def test_a_generation_that_nobody_reads_ends_and_leaves_the_model_free() -> None:
    opened = Opened(one_stack(), "tiny")
    found = run_pass(opened, AskRun(text=TEXT))
    before = dict(found.kept)
    events = generating.events_of(found, AskGenerate(run="", max_tokens=1000), Shelf(opened.lm))
    assert next(events)["pass"] == 1
    events.close()
    assert found.kept == before, "a log that was not finished is not kept"
    free = []
    thread = threading.Thread(target=lambda: free.append(opened.lock.acquire(timeout=10)))
    thread.start()
    thread.join()
    assert free == [True]


@pytest.mark.parametrize("lm", [one_stack(), two_stacks()], ids=["one stack", "two stacks"])
@pytest.mark.parametrize("bits", [32, 4])
def test_bytes_for_a_token_are_those_of_cost(lm: LM, bits: int) -> None:
    config, context = lm.config, 20
    found = memory_of(config, AskMemory(bits=bits, context=context), 1e9)
    source = context if config.has_cross else 0
    cached = 4.0 if bits == 32 else 2.0
    size = bytes_per_weight(bits)
    expected = bytes_per_generated_token(config, context, size, cached, num_source=source)
    assert found["weights"] + found["cache"] == pytest.approx(expected)
    assert sum(part["bytes"] for part in found["parts"]) == pytest.approx(found["per_token"])
    assert found["tokens_per_second"] == pytest.approx(1e9 / found["per_token"])
    assert found["held"]["weights"] == num_parameters(config) * size
    batch = memory_of(config, AskMemory(bits=bits, context=context, batch=10), 1e9)
    assert found["per_token"] - batch["per_token"] == pytest.approx(0.9 * found["weights"])
    bare = memory_of(config, AskMemory(bits=bits, context=context, cache=False), 1e9)
    assert bare["cache"] == 0
    assert bare["activations"] == context * found["activations"]


def test_it_says_what_fits_into_the_processors_cache() -> None:
    config, ask = one_stack().config, AskMemory(context=20, batch=3)
    found = memory_of(config, ask, 1e9)
    assert (found["processor_cache"], found["fits_cache"]) == (None, False), "where nobody says how large it is"
    of_a_pass = round(found["weights"] + 3 * found["cache"])
    assert memory_of(config, ask, 1e9, of_a_pass)["fits_cache"] is True
    assert memory_of(config, ask, 1e9, of_a_pass - 1)["fits_cache"] is False


MACHINE = Machine(read=1e9, peak=1e10, cache=2**24, cores=1, threads=1)


@pytest.mark.parametrize("lm", [one_stack(), two_stacks()], ids=["one stack", "two stacks"])
@pytest.mark.parametrize("bits", [32, 16, 8, 4])
def test_a_model_is_measured_and_stays_as_it_is(lm: LM, bits: int) -> None:
    before = {name: tensor.clone() for name, tensor in lm.model.state_dict().items()}
    kinds = [type(module) for module in lm.model.modules()]
    found = speed_of(Opened(lm, "tiny"), AskSpeed(bits=bits, context=10), MACHINE)
    assert [type(module) for module in lm.model.modules()] == kinds
    assert all(torch.equal(tensor, before[name]) for name, tensor in lm.model.state_dict().items())
    assert found["tokens_per_second"] == pytest.approx(1 / found["seconds"])
    assert found["rate"] == pytest.approx(found["per_token"] / found["seconds"])
    assert sum(part["seconds"] for part in found["parts"]) == pytest.approx(found["seconds"])
    assert found["fits_cache"] is True
    if bits == 32:
        source = 10 if lm.config.has_cross else 0
        assert found["per_token"] == bytes_per_generated_token(lm.config, found["context"], num_source=source)


def test_what_is_not_measured() -> None:
    with served(one_stack()) as (client, _):
        assert client.post("/api/speed", bits=8, context=4).json["bits"] == 8
        for ask, words in (
            ({"bits": 5}, "bits is 5. Weights are kept in 32, 16, 8 or 4 bits"),
            ({"context": 0}, "context is 0. It is 1"),
        ):
            found = client.post("/api/speed", **ask)
            assert found.status == 400
            assert words in found.json["error"]
    with served(reader()) as (client, _):
        assert "writes no text token by token" in client.post("/api/speed").json["error"]


def test_a_copy_needs_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cutaway.apps.microscope.speed.bytes_left", lambda: 0)
    opened = Opened(one_stack(), "tiny")
    with pytest.raises(CutawayError, match=r"0\.0 GB are available"):
        speed_of(opened, AskSpeed(bits=8), MACHINE)
    assert speed_of(opened, AskSpeed(context=3), MACHINE)["bits"] == 32, "which takes no copy"


def test_activations_are_the_tensors_of_a_pass() -> None:
    lm = one_stack()
    trace = lm.trace([5])
    sizes = {name: tensor.numel() for name, tensor in trace.items() if not name.endswith(("scores", "weights"))}
    assert activation_numbers(lm.config) == sum(sizes.values())


@pytest.mark.parametrize("stack", tiny.variants().values(), ids=tiny.variants().keys())
def test_weights_by_part_are_all_that_a_token_uses(stack: Any) -> None:
    config = tiny.config(decoder=stack)
    assert used_weights(config).total * 4 == bytes_per_generated_token(config, 1, 4.0, 0.0)


def test_an_encoder_moves_no_bytes_for_tokens_that_it_does_not_write() -> None:
    with served(reader()) as (client, _):
        assert "encoder only" in client.get("/api/memory").json["error"]


def test_the_bandwidth_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    monkeypatch.setattr("cutaway.apps.microscope.desk.read_bandwidth", lambda: asked.append(1) or 1e9)  # type: ignore[func-returns-value]
    with served(one_stack()) as (client, _):
        assert client.get("/api/memory").json["bandwidth"] == client.get("/api/memory", bits=8).json["bandwidth"] == 1e9
    assert asked == [1]


def test_operations_are_those_of_cost() -> None:
    config = one_stack().config
    found = arithmetic_of(config, AskMemory(context=20), 1e9)
    assert found == {"operations": flops_per_token(config, 20), "peak": 1e9, "num_layers": 2}
    bare = arithmetic_of(config, AskMemory(context=20, cache=False), 1e9)
    assert bare["operations"] == 20 * found["operations"]

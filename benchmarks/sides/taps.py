"""The sides of the tap benchmark, in one process. In: a size. Out: milliseconds of passes with and without tap calls."""

from __future__ import annotations

import importlib
import time
import timeit
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from cutaway.config import AttentionConfig, FeedForwardConfig, ModelConfig, StackConfig
from cutaway.cost import num_parameters
from cutaway.model import Call, Transformer, initialise
from cutaway.model.visibility import causal

from .tapless import import_tapless

D_HEAD, CONTEXT = 32, 128
NUM_BLOCKS = 20


def with_and_without(num_layers: int, d_model: int, vocab_size: int) -> Callable[..., dict[str, Any]]:
    """A model, and its twin from the source without tap calls that shares its weights."""
    decoder = StackConfig(
        num_layers=num_layers,
        d_model=d_model,
        attention=AttentionConfig(num_heads=d_model // D_HEAD),
        feedforward=FeedForwardConfig(d_hidden=4 * d_model),
    )
    config = ModelConfig(vocab_size=vocab_size, context=CONTEXT, decoder=decoder)
    model = initialise(Transformer(config), torch.Generator().manual_seed(1)).eval()
    ids = torch.randint(vocab_size, (1, CONTEXT), generator=torch.Generator().manual_seed(2))
    num_removed = import_tapless("cutaway", "tapless")
    twin = make_twin("tapless", model)

    def answer(num_tokens: int, seconds: float) -> dict[str, Any]:
        with_taps = make_pass("cutaway", model, ids, num_tokens)
        without = make_pass("tapless", twin, ids, num_tokens)
        return {
            "is_equal": torch.equal(with_taps(), without()),
            **take_turns(with_taps, without, seconds),
            "num_passed": count_taps(model, ids, num_tokens),
            "num_removed": num_removed,
            "num_parameters": num_parameters(config),
            "nanoseconds": nanoseconds_of_a_tap(),
        }

    return answer


def make_twin(package: str, model: Transformer) -> Any:
    """The same model as another package builds it, on the same tensors."""
    config = importlib.import_module(f"{package}.config").ModelConfig.from_dict(model.config.to_dict())
    twin = importlib.import_module(f"{package}.model").Transformer(config)
    twin.load_state_dict(model.state_dict(), assign=True)
    twin.head.projection.weight = twin.token.weight
    return twin.eval()


def make_pass(package: str, model: Any, ids: Tensor, num_tokens: int) -> Callable[[], Tensor]:
    """A pass over the first tokens of ids; a single token comes after all the others, which are in a store."""
    parts = SimpleNamespace(
        Call=importlib.import_module(f"{package}.model").Call,
        causal=importlib.import_module(f"{package}.model.visibility").causal,
        fused=importlib.import_module(f"{package}.runtime.attend").fused,
        KVStore=importlib.import_module(f"{package}.runtime.stores").KVStore,
    )
    if num_tokens > 1:
        return torch.inference_mode()(
            lambda: model(ids[:, :num_tokens], parts.Call(parts.causal(num_tokens), attend=parts.fused))
        )
    before = ids.shape[1] - 1
    with torch.inference_mode():
        store = parts.KVStore(model.config.main, capacity=ids.shape[1])
        model(ids[:, :before], parts.Call(parts.causal(before), attend=parts.fused, store=store))

    @torch.inference_mode()
    def one_more() -> Tensor:
        store.rewind(before)
        logits: Tensor = model(ids[:, before:], parts.Call(parts.causal(1, before), attend=parts.fused, store=store))
        return logits

    return one_more


def take_turns(ours: Callable[[], Tensor], peer: Callable[[], Tensor], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of a pass, the median of each of many blocks, in which the two run in turn."""
    blocks = [block(ours, peer, seconds / NUM_BLOCKS) for _ in range(NUM_BLOCKS)]
    return {"with_taps": [one for one, _ in blocks], "without": [other for _, other in blocks]}


def block(ours: Callable[[], Tensor], peer: Callable[[], Tensor], seconds: float) -> tuple[float, float]:
    """Median milliseconds of both, pass by pass, each first every other time."""
    times: tuple[list[float], list[float]] = ([], [])
    sides = [(times[0], ours), (times[1], peer)]
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(times[0]) < 2:
        for found, run in sides:
            start = time.perf_counter()
            run()
            found.append(1e3 * (time.perf_counter() - start))
        sides.reverse()
    return median(times[0]), median(times[1])


class Counter:
    """A watcher that wants nothing in particular and counts what passes."""

    def __init__(self) -> None:
        self.count = 0

    def wants(self, site: str) -> bool:  # noqa: ARG002 (watchers are asked by name)
        """No: so the unwatched kernel runs."""
        return False

    def __call__(self, site: str, tensor: Tensor) -> Tensor:  # noqa: ARG002 (watchers are told the name)
        """Count."""
        self.count += 1
        return tensor


def count_taps(model: Transformer, ids: Tensor, num_tokens: int) -> int:
    """How many taps a pass comes by."""
    counter = Counter()
    with torch.inference_mode():
        model(ids[:, :num_tokens], Call(causal(num_tokens), watch=counter))
    return counter.count


def nanoseconds_of_a_tap(number: int = 100_000) -> float:
    """One call while nobody watches, the loop around it taken off; the least of several tries."""
    names = {"call": Call(causal(1)), "x": torch.zeros(1)}
    tries = [min(timeit.repeat(line, globals=names, number=number)) for line in ('call.tap("residual.end", x)', "x")]
    return 1e9 * (tries[0] - tries[1]) / number

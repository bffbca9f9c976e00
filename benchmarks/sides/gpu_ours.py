"""Our side of the benchmark on a GPU. In: a shape, a device. Out: checks, tokens a second, bytes; all in this process."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from cutaway.apps.bench.shapes import SPREAD, config_of
from cutaway.config import ModelConfig
from cutaway.cost import bytes_per_generated_token, num_parameters
from cutaway.decode import Sampling, Session, autoregressive, run
from cutaway.decode.static import static_session
from cutaway.model import Call, Transformer
from cutaway.model.visibility import causal
from cutaway.runtime.attend import fused
from cutaway.runtime.gpu import Graphed, StaticStore, check_device_memory, merge_projections, needed_bytes

GREEDY = Sampling(temperature=0)
COPIED = 2**31  # bytes


class Ours:
    """A model of random weights, and what it does. difference: of the logits of its steps from the readable pass, as a share of
    their deviation: taken before projections are merged and anything is captured.
    """

    def __init__(
        self, shape: str, device: torch.device, dtype: torch.dtype, backend: str | None, *, batch: int, capacity: int
    ) -> None:
        """Raises CutawayError, before anything is made, where the device has not the memory."""
        self.config, self.device, self.backend = config_of(shape), device, backend
        needed = needed_bytes(self.config, batch=batch + 1, capacity=capacity, bytes_per_number=dtype.itemsize)
        check_device_memory(needed, device)
        self.model = random_model(self.config, device, dtype)
        ids = prompts(self.config, 1, 9, device)
        with torch.inference_mode():
            readable = self.model(ids, Call(causal(ids.shape[1], device=device)))[0, 1:]
        merge_projections(self.model)
        self.session = static_session(self.model, capacity=capacity, backend=backend)
        first, *rest = ids[0].tolist()
        self.session.extend([first])
        steps = torch.cat([self.session.extend([each]) for each in rest])
        self.difference = float((steps - readable).float().square().mean().sqrt() / readable.float().std())
        self.store = StaticStore(self.config.main, batch=batch, capacity=capacity, dtype=dtype, device=device)
        self.graphed = Graphed(self.model, self.store, backend=backend)

    @property
    def num_parameters(self) -> int:
        """All learned numbers."""
        return num_parameters(self.config)

    def bytes_per_token(self, context: int) -> float:
        """What one token must read and write, with so many in the store."""
        size = self.model.token.weight.element_size()
        return bytes_per_generated_token(self.config, context, size, size)

    def one(self, num_prompt: int, num_written: int) -> float:
        """Tokens a second of one text, by the decoder that everyone uses, after its first token."""
        self.session.rewind(0)
        ids = prompts(self.config, 1, num_prompt, self.device)[0].tolist()
        ends = []
        for _ in run(autoregressive(self.session, ids, GREEDY, max_tokens=num_written + 1, eos_ids=())):
            wait(self.device)
            ends.append(time.perf_counter())
        return num_written / (ends[-1] - ends[0])

    @torch.inference_mode()
    def many(self, num_prompt: int, num_written: int) -> float:
        """Tokens a second of all rows of a batch together, after their first tokens."""
        rows = self.store.batch
        self.store.rewind(0)
        logits = self._pass(prompts(self.config, rows, num_prompt, self.device))
        wait(self.device)
        started = time.perf_counter()
        for _ in range(num_written):
            logits = self._pass(logits[:, -1:].argmax(-1))
        wait(self.device)
        return rows * num_written / (time.perf_counter() - started)

    def _pass(self, ids: Tensor) -> Tensor:
        tokens = causal(ids.shape[1], self.store.length, device=self.device)
        call = Call(tokens, attend=fused, store=self.store)
        states = self.graphed.states(ids, call)
        return self.graphed.logits(states if states.shape[1] == 1 else states[:, -1:], call)


def equal_tokens(shape: str, device: torch.device, backend: str | None, num_written: int) -> tuple[float, int]:
    """The share of greedy tokens that captured steps have in common with the readable pass, in fp32; how many differ at all."""
    model = random_model(config_of(shape), device, torch.float32, spread=0.3)
    wanted = written(Session(model, attend=None), num_written)
    merge_projections(model)
    found = written(static_session(model, capacity=num_written + 8, backend=backend), num_written)
    same = sum(one == other for one, other in zip(wanted, found, strict=True))
    return same / num_written, len(set(wanted))


def written(session: Session, num_written: int) -> list[int | None]:
    """Greedy tokens."""
    return [event.new for event in run(autoregressive(session, [1, 2, 3], GREEDY, max_tokens=num_written, eos_ids=()))]


def copy_bandwidth(device: torch.device, num_bytes: int = COPIED) -> float:
    """Bytes read and written in a second by the fastest of ten copies."""
    one, other = torch.ones(2, num_bytes // 2, dtype=torch.int8, device=device)
    best = float("inf")
    for _ in range(10):
        wait(device)
        started = time.perf_counter()
        one.copy_(other)
        wait(device)
        best = min(best, time.perf_counter() - started)
    return 2 * one.nbytes / best


def random_model(config: ModelConfig, device: torch.device, dtype: torch.dtype, spread: float = SPREAD) -> Transformer:
    """Random weights, made where they stay and in their type."""
    with device, default_dtype(dtype):
        model = Transformer(config).eval().requires_grad_(False)
    model = model.to(device)  # the angles of positions are computed on the processor
    generator = torch.Generator(device).manual_seed(0)
    for weight in model.parameters():
        if weight.dim() > 1:
            weight.uniform_(-spread, spread, generator=generator)
    return model


def prompts(config: ModelConfig, rows: int, length: int, device: torch.device) -> Tensor:
    """Random ids: [batch, position]."""
    return torch.randint(config.vocab_size, (rows, length), generator=torch.Generator().manual_seed(1)).to(device)


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """The type in which modules are made meanwhile."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)

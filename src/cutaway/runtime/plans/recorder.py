"""A model -> its plan. In: a decoder. Out: one token's way through it as native operations, or a sentence why it has none.

The readable forward itself runs, once, on a copy of the modules whose leaves write on a tape; see `leaves` and `symbol`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch

from ...model.call import Call, Spec
from ...model.position import AlibiBias, RelativeBias
from ...model.transformer import Transformer
from ...model.visibility import Tokens, causal
from ..native.loader import library
from .leaves import Recording
from .plan import Plan
from .symbol import Symbol, UnplannedError, symbol_of, unplanned
from .tape import Tape


def record(model: Transformer, num_threads: int) -> Plan | str:
    """The plan of a model, for so many threads; or a sentence that says why it has none. The model stays as it is."""
    kernels = library()
    if isinstance(kernels, str):
        return f"It has no plan: of the native kernels, {kernels}."
    tape = Tape(kernels)
    recording = Recording(tape)
    try:
        states, result = _pass(model, recording)
        recording.guard.hold(tape.tensors)
        return Plan(tape.program(result.known, num_threads), states, recording.guard, is_rounded=tape.is_rounded)
    except UnplannedError as reason:
        return f"It has no plan: {reason}."


def _pass(model: Transformer, recording: Recording) -> tuple[int, Symbol]:
    """The readable forward, recording. Returns how many operations make the states, and the logits."""
    if model.config.has_cross or model.head is None:
        unplanned("it reads a source, or has no head")
    recorded: Any = recording.copied(model)
    attending = Attending(recording.tape)
    call = Call(causal(1, device=torch.device("cpu")), attending, attending.store)
    states = recorded.states(None, call)
    num_states = len(recording.tape.operations)
    return num_states, symbol_of(recorded.logits(states, call))


@dataclass(frozen=True)
class Slot:
    """A layer's place in the store, by its number: a plan holds no tensor of a session."""

    layer: int


class Store:
    """The store of a pass that is recorded: it holds nothing."""

    def begin(self, tokens: Tokens) -> Tokens:
        """The tokens themselves: those before them are there when the plan is replayed."""
        return tokens

    def layer(self, index: int) -> Any:
        """The place of one layer."""
        return Slot(index)


@dataclass
class Attending:
    """The kernel of a pass that is recorded."""

    tape: Tape
    store: Store = field(default_factory=Store)

    def __call__(self, spec: Spec, q: Any, k: Any, v: Any, call: Call) -> Any:
        """q: [batch, head, query, d_head] -> the same shape, as symbols."""
        slot, frame = call.store, call.frame
        assert isinstance(slot, Slot), "a layer of the recorded store"
        assert frame is not None, "Stack.begin makes the frames"
        bias: Any = frame.bias
        assert bias is None or isinstance(bias, (AlibiBias, RelativeBias)), "leaves hand out themselves"
        mixed = self.tape.attend(
            spec,
            q.known,
            k.known,
            v.known,
            layer=slot.layer,
            d_head=q.shape[-1],
            window=frame.window,
            sinks=frame.sinks,
            bias=bias,
        )
        return q.like(mixed)

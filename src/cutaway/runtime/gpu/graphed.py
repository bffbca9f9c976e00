"""One-token passes, compiled and captured. In: a model and a static store. Out: the same model, whose steps are one launch.

A GPU ends the kernels of a small pass sooner than Python asks for them, so the pass is recorded once (`torch.cuda.CUDAGraph`) and
replayed over the same tensors; what changes, ids, visibility and place, is written into them. The layers are compiled first: one
graph for all of them, for nothing that a layer is given names it. All other passes (prompts, drafts, forks, anything watched) are
those of the model itself, and so are all where numbers decide what runs (`is_fixed`): what is recorded may not ask for any. When
the store has grown, its pass is recorded anew. Slow twin: the model.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn

from ...model.call import Call
from ...model.feedforward import Experts
from ...model.masks import MaskEmbedding
from ...model.transformer import Transformer
from ...model.visibility import FIELDS, Tokens
from .grouped import grouped
from .static import StaticStore, Stepping

Shared = TypeVar("Shared", bound=nn.Module)
WARM = 3  # passes before the one that is captured
Backend = Literal["inductor"] | Callable[..., Any]
TUNED: dict[str, str | int | bool | Callable[..., Any]] = {
    "coordinate_descent_tuning": True
}  # products of one row: loops over weights


class Graphed(Transformer):
    """A model that shares all its modules with another one, and replays the steps over one store.

    A session over it is an ordinary one whose store is the static one: `decode.static_session`.
    """

    def __init__(self, model: Transformer, store: StaticStore, *, backend: Backend | None = "inductor") -> None:
        """backend: of torch.compile, None to leave the layers as they are. On a GPU passes are captured, elsewhere called."""
        nn.Module.__init__(self)
        self.config, self.store = model.config, store
        self.token, self.encoder, self.decoder = model.token, model.encoder, model.decoder
        self.head, self.pooler, self.labels = model.head, model.pooler, model.labels
        device, batch = store.device, store.batch
        self.ids = torch.zeros(batch, 1, dtype=torch.long, device=device)
        self.fields = torch.zeros(len(FIELDS), 1, 1, dtype=torch.long, device=device)
        self.num_steps = 0
        self._is_fixed = is_fixed(model)
        self._stepping = Call(Tokens(self.fields), attend=grouped, store=Stepping(store))
        self._fast = (with_compiled_layers(model, backend),)  # in a tuple: these are no further modules
        self._graph: torch.cuda.CUDAGraph | None = None
        self._capacity = store.capacity  # of the store that the graph was recorded over
        self._states, self._logits = self.ids, self.ids  # of the last step

    def states(self, ids: Tensor, call: Call) -> Tensor:
        """As the model's. A step over the store is replayed, and its states are overwritten by the next one."""
        if not self._serves(ids, call):
            return super().states(ids, call)
        self.store.reserve(1)
        self.ids.copy_(ids)
        self.fields.copy_(call.tokens.fields)
        self.store.place.fill_(self.store.length)
        self._step()
        self.store.advance(call.tokens)
        self.num_steps += 1
        return self._states

    def logits(self, states: Tensor, call: Call) -> Tensor:
        """As the model's; those of a step were made with its states."""
        return self._logits.clone() if states is self._states else super().logits(states, call)

    def _serves(self, ids: Tensor, call: Call) -> bool:
        """Whether this is one token for each row, over the store, that nobody watches and nothing else is given to."""
        is_plain = call.watch is None and call.memory is None and call.types is None and not call.gates
        is_step = ids.shape == self.ids.shape and call.tokens.fields.shape == self.fields.shape
        is_ours = self._is_fixed and call.store is self.store and self.head is not None
        return is_ours and is_plain and is_step and not torch.is_grad_enabled()

    def _step(self) -> None:
        if self.ids.device.type != "cuda":
            self._pass()
            return
        if self._graph is None or self._capacity != self.store.capacity:
            self._graph, self._capacity = None, self.store.capacity
            self._graph = self._captured()
        self._graph.replay()

    def _pass(self) -> None:
        (fast,) = self._fast
        self._states = fast.states(self.ids, self._stepping)
        self._logits = fast.logits(self._states, self._stepping)

    def _captured(self) -> torch.cuda.CUDAGraph:
        """Passes that compile and warm up, and one that is recorded: each writes the same numbers to the same place."""
        with torch.cuda.device(self.ids.device):
            side, now = torch.cuda.Stream(), torch.cuda.current_stream()
            side.wait_stream(now)
            with torch.cuda.stream(side):
                for _ in range(WARM):
                    self._pass()
            now.wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            forget_workspaces()
            with torch.cuda.graph(graph):
                self._pass()
            forget_workspaces()
        return graph


def is_fixed(model: Transformer) -> bool:
    """Whether the same modules run for every token. Numbers decide it in a mixture of experts, and where masks are told apart."""
    return not any(isinstance(each, (Experts, MaskEmbedding)) for each in model.main.modules())


def forget_workspaces() -> None:
    """The memory that cuBLAS computes in is given back: a recording takes some of its own, from the memory that lives as it does.

    cuBLAS keeps one for each stream, and all recordings are made on the same stream: a second one would compute in what belongs
    to the first, which goes when that is dropped and anyone forgets workspaces, as torch.compile does for its own recordings.
    """
    torch._C._cuda_clearCublasWorkspaces()


def with_compiled_layers(model: Transformer, backend: Backend | None) -> Transformer:
    """A model that shares everything with this one, but that its layers run compiled; None: the model itself."""
    if backend is None:
        return model
    options = dict(TUNED) if backend == "inductor" else None
    compiled = torch.compile(_run_layer, backend=backend, fullgraph=True, dynamic=False, options=options)
    twin, stack = _sharing(model), model.main
    fast = _sharing(stack)
    fast.layers = nn.ModuleList(Compiled(layer, compiled) for layer in stack.layers)
    name = "decoder" if model.decoder is not None else "encoder"
    setattr(twin, name, fast)
    return twin


class Compiled(nn.Module):
    """A layer by one compiled function, which all layers share."""

    def __init__(self, layer: nn.Module, run: Callable[[nn.Module, Tensor, Call], Tensor]) -> None:
        super().__init__()
        self.layer, self.run = layer, run

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape."""
        return self.run(self.layer, x, call)


def _run_layer(layer: nn.Module, x: Tensor, call: Call) -> Tensor:
    found: Tensor = layer(x, call)
    return found


def _sharing(module: Shared) -> Shared:
    """A module with the same children, of which some can be replaced."""
    twin = copy.copy(module)
    twin._modules = dict(module._modules)
    return twin

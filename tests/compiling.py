"""What tests of compiled passes share. In: graphs that torch.compile made. Out: how many; where it makes none of a pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch


class Counting:
    """A compiler backend that runs the graph as it is, and counts the graphs that it was given."""

    def __init__(self) -> None:
        self.num_graphs = 0

    def __call__(self, graph: torch.fx.GraphModule, _inputs: list[Any]) -> Callable[..., Any]:
        self.num_graphs += 1
        return graph.forward


traces_whole_passes = pytest.mark.skipif(
    torch.__version__.startswith("2.11."), reason="torch 2.11 does not trace `dataclasses.replace` of a Call"
)

"""What stands after the last stack. In: its states. Out: logits, or one vector for each text.

head: logits = W · transform(state) + b, W the token embedding itself when tied (Press & Wolf 2017); the transform is nothing, or
norm(f(dense(state))) (Devlin et al. 2019, masked language models). pooler: tanh(dense(first state)), likewise.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import Activation, ModelConfig
from .call import Call
from .embedding import TokenEmbedding
from .feedforward import ACTIVATIONS
from .norm import make_norm
from .projection import Projection


class Head(nn.Module):
    """States -> logits: one projection onto the vocabulary, the token embedding itself when tied."""

    def __init__(self, config: ModelConfig, token: TokenEmbedding) -> None:
        super().__init__()
        self.scale, self.softcap = config.logit_scale, config.logit_softcap
        activation = config.head_transform
        self.transform = NoTransform() if activation is None else Transform(config, activation)
        self.projection = Projection(config.main.d_model, config.vocab_size, bias=config.head_bias)
        if config.is_tied:
            self.projection.weight = token.weight
        self.unsaid: nn.Module = nn.Identity()

    def forward(self, states: Tensor, call: Call) -> Tensor:
        """states: [batch, position, d_model] -> logits [batch, position, vocab]."""
        logits = self.projection(self.transform(states, call), call)
        if self.scale != 1.0:
            logits = logits * self.scale
        if self.softcap is not None:
            logits = torch.tanh(logits / self.softcap) * self.softcap
        return call.tap("output.logits", self.unsaid(logits))


class Unsaid(nn.Module):
    """Ids behind the last row of the head have no probability. count: how many there are."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, logits: Tensor) -> Tensor:
        """logits: [batch, position, vocab] of the head -> [batch, position, vocab] of the model."""
        return F.pad(logits, (0, self.count), value=-torch.inf)


class Transform(nn.Module):
    """A dense layer, an activation and a norm, before the head's matrix."""

    def __init__(self, config: ModelConfig, activation: Activation) -> None:
        super().__init__()
        stack = config.main
        self.dense = Projection(stack.d_model, stack.d_model, bias=True)
        self.activate = ACTIVATIONS[activation]
        self.norm = make_norm(stack.d_model, stack.norm)

    def forward(self, states: Tensor, call: Call) -> Tensor:
        """states: [batch, position, d_model] -> the same shape."""
        return call.tap("output.transformed", self.norm(self.activate(self.dense(states, call))))


class NoTransform(nn.Module):
    """The states go to the head's matrix as they are."""

    def forward(self, states: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (as Transform)
        """states themselves."""
        return states


class Labels(nn.Module):
    """Scores of each token: one projection (Devlin et al. 2019 §4.2, where two scores say where an answer begins and ends)."""

    def __init__(self, d_model: int, num_labels: int) -> None:
        super().__init__()
        self.projection = Projection(d_model, num_labels, bias=True)

    def forward(self, states: Tensor, call: Call) -> Tensor:
        """states: [batch, position, d_model] -> [batch, position, label]."""
        return call.tap("output.labels", self.projection(states, call))


class Pooler(nn.Module):
    """The first token's state, through a dense layer and tanh: one vector for each text."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.dense = Projection(d_model, d_model, bias=True)

    def forward(self, states: Tensor, call: Call) -> Tensor:
        """states: [batch, position, d_model] -> [batch, d_model]."""
        return call.tap("output.pooled", torch.tanh(self.dense(states[:, :1], call)).squeeze(1))

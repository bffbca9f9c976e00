"""ids -> vectors. In: ids and positions. Out: token embedding + positional encoding (+ type), kept apart for whoever looks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..config import ModelConfig, StackConfig
from .call import Call
from .norm import make_norm
from .position import sinusoids


class TokenEmbedding(nn.Module):
    """A learned vector per id, times a fixed scale. All stacks of a model share it."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.scale = config.embedding_scale
        self.weight = nn.Parameter(torch.empty(config.vocab_size, config.main.d_model))

    def forward(self, ids: Tensor) -> Tensor:
        """ids: [batch, position] -> [batch, position, d_model]."""
        vectors = F.embedding(ids, self.weight)
        return vectors if self.scale == 1.0 else vectors * self.scale

    def gated(self, ids: Tensor, call: Call) -> Call:  # noqa: ARG002 (the seam: replacements open gates by what is read)
        """The call of a pass over these ids: itself."""
        return call


class PositionTable(nn.Module):
    """A row per position: learned, or the fixed sinusoids times a scale (`offset` rows are skipped)."""

    def __init__(self, config: ModelConfig, stack: StackConfig) -> None:
        super().__init__()
        position, rows = stack.position, config.context + stack.position.offset
        self.offset = position.offset
        if position.kind == "learned":
            self.weight = nn.Parameter(torch.empty(rows, stack.d_model))
        else:
            table = sinusoids(rows, stack.d_model, position.base, halved=position.halved)
            self.register_buffer("weight", table * position.scale, persistent=False)

    def forward(self, position: Tensor) -> Tensor:
        """position: [batch, position] -> [batch, position, d_model]."""
        return F.embedding(position + self.offset if self.offset else position, self.weight)


class NoTable(nn.Module):
    """Nothing is added: order reaches the model in attention, or not at all."""

    def forward(self, position: Tensor) -> Tensor:
        """Zeros that broadcast: [batch, position, 1]."""
        return torch.zeros((), device=position.device).expand(*position.shape, 1)


class TypeTable(nn.Module):
    """A learned row per type of token: 0 for the first text, 1 for the second, say (Devlin et al. 2019 §3)."""

    def __init__(self, stack: StackConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(stack.num_token_types, stack.d_model))

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same with each token's row added."""
        types = torch.zeros(x.shape[:2], dtype=torch.long, device=x.device) if call.types is None else call.types
        return x + call.tap("embedding.type", F.embedding(types, self.weight).expand_as(x))


class NoTypes(nn.Module):
    """All tokens are of one type."""

    def forward(self, x: Tensor, call: Call) -> Tensor:  # noqa: ARG002 (as TypeTable)
        """x itself."""
        return x


class Embedding(nn.Module):
    """What enters the first layer of a stack."""

    def __init__(self, config: ModelConfig, stack: StackConfig, token: TokenEmbedding) -> None:
        super().__init__()
        self.token = token
        self.position = PositionTable(config, stack) if stack.position.is_table else NoTable()
        self.types = TypeTable(stack) if stack.num_token_types else NoTypes()
        self.norm = make_norm(stack.d_model, stack.norm) if stack.has_embedding_norm else nn.Identity()

    def forward(self, ids: Tensor, call: Call) -> Tensor:
        """ids: [batch, position] -> [batch, position, d_model]."""
        token = call.tap("embedding.token", self.token(ids))
        position = self.position(call.tokens.position).to(token.dtype).expand_as(token)
        position = call.tap("embedding.position", position)
        return call.tap("embedding.sum", self.norm(self.types(token + position, call)))

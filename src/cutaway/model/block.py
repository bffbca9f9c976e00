"""One layer. In: the residual stream. Out: the stream with what attention and the feed-forward layer add to it.

Pre and Post wrap one sublayer, so that a block reads the same under every placement of the norms: pre (x + f(norm(x))),
sandwich (x + norm(f(norm(x)))), inner (x + norm(f(x))) and post (norm(x + f(x))). Parallel is a block of its own.
"""

from __future__ import annotations

from torch import Tensor, nn

from ..config import PositionConfig, StackConfig
from .attention import Attention, CrossAttention
from .call import Call
from .feedforward import make_feedforward
from .norm import make_norm


class Pre(nn.Module):
    """x + after(sublayer(before(x))); a norm that is absent is the identity."""

    def __init__(self, site: str, before: nn.Module, sublayer: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.input_site, self.output_site = site + ".input", site + ".output"
        self.before, self.sublayer, self.after = before, sublayer, after

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape."""
        entering = call.tap(self.input_site, self.before(x))
        return x + call.tap(self.output_site, self.after(self.sublayer(entering, call)))


class Post(nn.Module):
    """norm(x + sublayer(x)), as in the first transformer."""

    def __init__(self, site: str, sublayer: nn.Module, norm: nn.Module) -> None:
        super().__init__()
        self.input_site, self.output_site = site + ".input", site + ".output"
        self.sublayer, self.norm = sublayer, norm

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape."""
        added = call.tap(self.output_site, self.sublayer(call.tap(self.input_site, x), call))
        normed: Tensor = self.norm(x + added)
        return normed


class Block(nn.Module):
    """Attention, then feed-forward."""

    def __init__(self, stack: StackConfig, position: PositionConfig) -> None:
        super().__init__()
        self.attention = wrap("attention", Attention(stack, position), stack)
        self.feedforward = wrap("feedforward", make_feedforward(stack.d_model, stack.feedforward), stack)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape."""
        x = call.tap("residual.start", x)
        x = call.tap("residual.middle", self.attention(x, call))
        return call.tap("residual.end", self.feedforward(x, call))


class CrossBlock(Block):
    """Attention, cross-attention to the memory, feed-forward."""

    def __init__(self, stack: StackConfig, position: PositionConfig) -> None:
        super().__init__(stack, position)
        self.cross = wrap("cross", CrossAttention(stack, position), stack)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape."""
        x = call.tap("residual.start", x)
        x = call.tap("residual.middle", self.attention(x, call))
        x = call.tap("residual.crossed", self.cross(x, call))
        return call.tap("residual.end", self.feedforward(x, call))


class ParallelBlock(nn.Module):
    """Attention and feed-forward read the same stream and are added together (Wang & Komatsuzaki 2021)."""

    def __init__(self, stack: StackConfig, position: PositionConfig) -> None:
        super().__init__()
        self.attention_norm = make_norm(stack.d_model, stack.norm)
        self.attention = Attention(stack, position)
        self.feedforward_norm = make_norm(stack.d_model, stack.norm)
        self.feedforward = make_feedforward(stack.d_model, stack.feedforward)

    def forward(self, x: Tensor, call: Call) -> Tensor:
        """x: [batch, position, d_model] -> the same shape; residual.middle has no place in a parallel block."""
        x = call.tap("residual.start", x)
        attending = call.tap("attention.input", self.attention_norm(x))
        attended = call.tap("attention.output", self.attention(attending, call))
        feeding = call.tap("feedforward.input", self.feedforward_norm(x))
        fed = call.tap("feedforward.output", self.feedforward(feeding, call))
        return call.tap("residual.end", x + attended + fed)


def wrap(site: str, sublayer: nn.Module, stack: StackConfig) -> nn.Module:
    """A sublayer with its norms and its residual connection, placed as the config says."""
    if stack.placement == "post":
        return Post(site, sublayer, make_norm(stack.d_model, stack.norm))
    has_before, has_after = stack.placement in ("pre", "sandwich"), stack.placement in ("sandwich", "inner")
    before = make_norm(stack.d_model, stack.norm) if has_before else nn.Identity()
    after = make_norm(stack.d_model, stack.norm) if has_after else nn.Identity()
    return Pre(site, before, sublayer, after)


def make_block(stack: StackConfig, position: PositionConfig, *, has_cross: bool) -> nn.Module:
    """The block that the config names."""
    if stack.placement == "parallel":
        return ParallelBlock(stack, position)
    return CrossBlock(stack, position) if has_cross else Block(stack, position)

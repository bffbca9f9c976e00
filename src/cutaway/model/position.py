"""What order means to the model. In: positions (integers). Out: a table row, an angle, or a bias on the scores.

sinusoidal: sin/cos of position / base^(2i/d), added to the token embedding (Vaswani et al. 2017 §3.5)
rotary: queries and keys turned by an angle proportional to position (Su et al. 2021, eq. 34)
relative: a learned bias per bucket of distance (Raffel et al. 2020 §2.1) · alibi: −slope · distance (Press et al. 2022)

What follows from a formula is computed on the CPU whatever the default device, so that a model built on `meta` (to be filled
from a file) has it right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..config import PositionConfig, RotaryScaling
from .visibility import Tokens


def sinusoids(num_positions: int, width: int, base: float = 10_000.0, *, halved: bool = False) -> Tensor:
    """The fixed table: [position, d_model] float32, computed in float64.

    Sines stand at even places and cosines at odd ones; halved: all sines first, then all cosines.
    """
    position = torch.arange(num_positions, dtype=torch.float64, device="cpu").unsqueeze(1)
    frequency = base ** (-torch.arange(0, width, 2, dtype=torch.float64, device="cpu") / width)
    table = torch.empty(num_positions, width, dtype=torch.float64, device="cpu")
    half = width // 2
    sines, cosines = (table[:, :half], table[:, half:]) if halved else (table[:, 0::2], table[:, 1::2])
    sines.copy_(torch.sin(position * frequency))
    cosines.copy_(torch.cos(position * frequency))
    return table.float()


class Rotary(nn.Module):
    """The angles of a pass, computed once for all layers of a type."""

    frequencies: Tensor

    def __init__(self, d_head: int, config: PositionConfig) -> None:
        super().__init__()
        self.d_rotated = int(d_head * config.fraction)
        frequencies, self.factor = rotary_frequencies(self.d_rotated, config)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def forward(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """position: [batch, position] -> cos, sin: [batch, 1, position, d_rotated / 2] float32."""
        angle = position.unsqueeze(1).unsqueeze(-1).float() * self.frequencies
        return angle.cos() * self.factor, angle.sin() * self.factor


def rotate(x: Tensor, cos: Tensor, sin: Tensor, *, is_interleaved: bool) -> Tensor:
    """Turn the first part of each head. x: [batch, head, position, d_head]; cos, sin: [batch, 1, position, d_rotated / 2].

    Pairs are (i, i + pairs) by default, (2i, 2i + 1) when interleaved; what is beyond 2 · pairs passes.
    """
    pairs = cos.shape[-1]
    turned, rest = x[..., : 2 * pairs], x[..., 2 * pairs :]
    first, second = (turned[..., 0::2], turned[..., 1::2]) if is_interleaved else turned.split(pairs, dim=-1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    one, two = first * cos - second * sin, second * cos + first * sin
    joined = torch.stack((one, two), dim=-1).flatten(-2) if is_interleaved else torch.cat((one, two), dim=-1)
    return torch.cat((joined, rest), dim=-1) if rest.shape[-1] else joined


class RelativeBias(nn.Module):
    """A learned number per head and bucket of distance: near distances exactly, far ones on a logarithmic scale."""

    def __init__(self, num_heads: int, config: PositionConfig) -> None:
        super().__init__()
        self.config = config
        self.weight = nn.Parameter(torch.empty(config.num_buckets, num_heads))

    def forward(self, queries: Tokens, keys: Tokens) -> Tensor:
        """-> [batch, head, query, key]."""
        distance = keys.position.unsqueeze(-2) - queries.position.unsqueeze(-1)
        bucket = distance_bucket(distance, self.config)
        return nn.functional.embedding(bucket, self.weight).permute(0, 3, 1, 2)


class AlibiBias(nn.Module):
    """A fixed slope per head times how far back a key lies."""

    slopes: Tensor

    def __init__(self, num_heads: int) -> None:
        super().__init__()
        self.register_buffer("slopes", alibi_slopes(num_heads), persistent=False)

    def forward(self, queries: Tokens, keys: Tokens) -> Tensor:
        """-> [batch, head, query, key]."""
        distance = (queries.position.unsqueeze(-1) - keys.position.unsqueeze(-2)).abs()
        return -self.slopes.view(1, -1, 1, 1) * distance.unsqueeze(1)


def make_bias(num_heads: int, config: PositionConfig) -> nn.Module | None:
    """The score bias that the config names, if any."""
    if config.kind == "relative":
        return RelativeBias(num_heads, config)
    return AlibiBias(num_heads) if config.kind == "alibi" else None


def distance_bucket(distance: Tensor, config: PositionConfig) -> Tensor:
    """The bucket of a distance key − query: half of them exact, half logarithmic up to max_distance."""
    num_buckets, base = config.num_buckets, torch.zeros_like(distance)
    if config.bidirectional:
        num_buckets //= 2
        base = (distance > 0).long() * num_buckets
        distance = distance.abs()
    else:
        distance = (-distance).clamp_min(0)
    num_exact = num_buckets // 2
    ratio = torch.log(distance.clamp_min(1).float() / num_exact) / math.log(config.max_distance / num_exact)
    far = (num_exact + (ratio * (num_buckets - num_exact)).long()).clamp_max(num_buckets - 1)
    return base + torch.where(distance < num_exact, distance, far)


def alibi_slopes(num_heads: int) -> Tensor:
    """2^(−8 i / n) for a power of two; between powers, those of the lower one and every other one of the higher one."""
    lower = 2 ** math.floor(math.log2(num_heads))
    slopes = [2.0 ** (-8.0 * (i + 1) / lower) for i in range(lower)]
    between = [2.0 ** (-4.0 * (i + 1) / lower) for i in range(0, 2 * (num_heads - lower), 2)]
    return torch.tensor(slopes + between, device="cpu")


def rotary_frequencies(d_rotated: int, config: PositionConfig) -> tuple[Tensor, float]:
    """Angle per position of each pair, [d_rotated / 2], stretched as the config says; and the factor on cos and sin."""
    plain = config.base ** (-torch.arange(0, d_rotated, 2, dtype=torch.float64, device="cpu") / d_rotated)
    scaling = config.scaling
    if scaling is None:
        return plain.float(), 1.0
    if scaling.kind == "linear":
        return (plain / scaling.factor).float(), 1.0
    if scaling.kind == "llama3":
        turns = scaling.original_context * plain / (2 * math.pi)
        kept = ((turns - scaling.low) / (scaling.high - scaling.low)).clamp(0, 1)
        return (plain * kept + plain / scaling.factor * (1 - kept)).float(), 1.0
    return _yarn(plain, d_rotated, config.base, scaling)


def _yarn(plain: Tensor, d_rotated: int, base: float, scaling: RotaryScaling) -> tuple[Tensor, float]:
    def pair_of(turns: float) -> float:
        return d_rotated * math.log(scaling.original_context / (turns * 2 * math.pi)) / (2 * math.log(base))

    start, end = max(math.floor(pair_of(scaling.high)), 0), min(math.ceil(pair_of(scaling.low)), d_rotated - 1)
    pairs = torch.arange(d_rotated // 2, dtype=torch.float64, device="cpu")
    ramp = ((pairs - start) / max(end - start, 0.001)).clamp(0, 1)
    factor = 0.1 * math.log(scaling.factor) + 1.0 if scaling.attention_factor is None else scaling.attention_factor
    return (plain / scaling.factor * ramp + plain * (1 - ramp)).float(), factor

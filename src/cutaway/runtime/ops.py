"""The native kernels as operators of torch, `torch.ops.cutaway`. In: fp32 tensors on a processor. Out: new tensors.

So torch knows them: profilers name them, `torch.compile` keeps a pass with them whole, and their shapes are known without running
them. Who may be given to them is decided by `takes`, and in `kernels`, `rows`, `activation` and `quantised`, which also have the
gradients; plans call the library by themselves. Not for tensors that these let pass: nothing is checked here.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar, cast

import torch
from torch import Tensor
from torch import library as registry

from .native.loader import SIZE, Heads, Library, Shape, library

NAMESPACE: Final = __name__.partition(".")[0]  # of the package: a copy under another name has operators of its own
ARE_HERE: Final = not isinstance(library(), str)  # a constant, so that a compiler need not look for files
_OPERATORS: Final = registry.Library(NAMESPACE, "DEF")

Function = TypeVar("Function", bound=Callable[..., Any])


def takes(x: Tensor, other: Tensor) -> bool:
    """Whether kernels of floats take these: fp32, on a processor that has them, and not under mixed precision."""
    is_plain = x.dtype is torch.float32 and other.dtype is torch.float32 and x.is_cpu and other.is_cpu
    return is_plain and not torch.is_autocast_enabled("cpu") and ARE_HERE


class Turning(ctypes.Structure):
    """The shape of a rotation, as rows.cpp reads it."""

    _fields_ = (
        *((name, SIZE) for name in ("batch", "heads", "positions", "width", "pairs", "is_interleaved")),
        ("strides", SIZE * 3),
        ("apart", SIZE),
    )


def operator(schema: str, like: Callable[..., Any]) -> Callable[[Function], Function]:
    """Registers a function as an operator for processors. like: what it returns, of its shapes and without its numbers."""

    def put(function: Function) -> Function:
        name = f"{NAMESPACE}::{function.__name__}"
        _OPERATORS.define(f"{function.__name__}{schema}")
        _OPERATORS.impl(function.__name__, function, "CPU")
        registry.register_fake(name, like, lib=_OPERATORS)
        registered = getattr(getattr(torch.ops, NAMESPACE), function.__name__).default
        return cast("Function", registered)

    return put


def _widened(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:  # noqa: ARG001 (of the shape of `linear`)
    return x.new_empty(*x.shape[:-1], weight.shape[0])


@operator("(Tensor x, Tensor weight, Tensor? bias) -> Tensor", _widened)
def linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x · Wᵀ + b of many rows. x: [..., d_in]; weight: [d_out, d_in]; bias: [d_out] or None -> [..., d_out]."""
    x, out = x.contiguous(), _widened(x, weight, bias)
    _product(x.view(-1, x.shape[-1]), weight.contiguous().t(), out.view(-1, out.shape[-1]), bias=bias)
    return out


@operator("(Tensor x, Tensor weight, Tensor? bias) -> Tensor", _widened)
def linear_of_few(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """As `linear`, of a few rows: weights are read once, and nothing is packed."""
    x, weight, out = x.contiguous(), weight.contiguous(), _widened(x, weight, bias)
    (d_out, d_in), places = weight.shape, (x.data_ptr(), weight.data_ptr(), _place(bias), out.data_ptr())
    _kernels().product_few(x.numel() // d_in, d_out, d_in, *places, torch.get_num_threads())
    return out


@operator("(Tensor d_out, Tensor weight) -> Tensor", lambda d_out, weight: d_out.new_empty(len(d_out), weight.shape[1]))
def linear_by_input(d_out: Tensor, weight: Tensor) -> Tensor:
    """dx = dy · W. d_out: [row, d_out]; weight: [d_out, d_in] -> [row, d_in]."""
    d_x = d_out.new_empty(len(d_out), weight.shape[1])
    _product(d_out.contiguous(), weight.contiguous(), d_x)
    return d_x


def _of_weight(d_out: Tensor, x: Tensor, sums: bool) -> tuple[Tensor, Tensor]:
    return x.new_empty(d_out.shape[1], x.shape[1]), x.new_empty(d_out.shape[1] if sums else 0)


@operator("(Tensor d_out, Tensor x, bool sums) -> (Tensor, Tensor)", _of_weight)
def linear_by_weight(d_out: Tensor, x: Tensor, sums: bool) -> tuple[Tensor, Tensor]:
    """dW = dyᵀ · x, and Σ dy where sums are asked for. d_out: [row, d_out]; x: [row, d_in] -> [d_out, d_in] and [d_out]."""
    d_weight, d_bias = _of_weight(d_out, x, sums)
    _product(d_out.contiguous().t(), x.contiguous(), d_weight, row_sums=d_bias if sums else None)
    return d_weight, d_bias


@operator("(Tensor x) -> Tensor", lambda x: x.new_empty(x.shape))
def gelu_tanh(x: Tensor) -> Tensor:
    """GELU by its tanh, of any shape."""
    x, out = x.contiguous(), x.new_empty(x.shape)
    _kernels().gelu(x.numel(), x.data_ptr(), out.data_ptr(), torch.get_num_threads())
    return out


@operator("(Tensor d_out, Tensor x) -> Tensor", lambda d_out, x: x.new_empty(x.shape))  # noqa: ARG005 (of its shape)
def gelu_tanh_by_input(d_out: Tensor, x: Tensor) -> Tensor:
    """The gradient of `gelu_tanh` by x."""
    d_out, x, d_x = d_out.contiguous(), x.contiguous(), x.new_empty(x.shape)
    _kernels().gelu_backward(x.numel(), x.data_ptr(), d_out.data_ptr(), d_x.data_ptr(), torch.get_num_threads())
    return d_x


def _mixed(q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> tuple[Tensor, Tensor]:  # noqa: ARG001
    return _like_heads(q), q.new_empty(q.shape[:3])


@operator("(Tensor q, Tensor k, Tensor v, float scale, bool is_causal) -> (Tensor, Tensor)", _mixed)
def attention(q: Tensor, k: Tensor, v: Tensor, scale: float, is_causal: bool) -> tuple[Tensor, Tensor]:
    """softmax(q kᵀ · scale) · v, and the log of the sum of each row, which its gradient needs.

    q: [batch, head, query, d_head]; k, v: [batch, kv_head, key, d_head] -> as q, and [batch, head, query].
    """
    q, k, v = (_by_rows(x) for x in (q, k, v))
    out, lse = _mixed(q, k, v, scale, is_causal)
    shape = _shape(q, k, scale, is_causal)
    _kernels().attention(ctypes.addressof(shape), *_heads(q, k, v, out), lse.data_ptr())
    return out, lse


@operator(
    "(Tensor d_out, Tensor q, Tensor k, Tensor v, Tensor out, Tensor lse, float scale, bool is_causal)"
    " -> (Tensor, Tensor, Tensor)",
    lambda d_out, q, k, v, out, lse, scale, is_causal: tuple(_like_heads(x) for x in (q, k, v)),  # noqa: ARG005
)
def attention_by_inputs(
    d_out: Tensor, q: Tensor, k: Tensor, v: Tensor, out: Tensor, lse: Tensor, scale: float, is_causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients of `attention` by q, k and v, from what it was given and returned."""
    q, k, v, out, d_out = (_by_rows(x) for x in (q, k, v, out, d_out))
    d_q, d_k, d_v = (_like_heads(x) for x in (q, k, v))
    shape = _shape(q, k, scale, is_causal)
    places = (*_heads(q, k, v, out), lse.data_ptr(), *_heads(d_out, d_q, d_k, d_v))
    _kernels().attention_backward(ctypes.addressof(shape), *places)
    return d_q, d_k, d_v


@operator(
    "(Tensor x, Tensor weight, float offset, float eps) -> Tensor",
    lambda x, weight, offset, eps: x.new_empty(x.shape),  # noqa: ARG005 (of its shape)
)
def rms_norm(x: Tensor, weight: Tensor, offset: float, eps: float) -> Tensor:
    """x / sqrt(mean x² + eps) · (weight + offset), over the last axis of any shape."""
    x, width, out = x.contiguous(), x.shape[-1], x.new_empty(x.shape)
    places = x.data_ptr(), weight.data_ptr(), offset, eps, out.data_ptr()
    _kernels().rms_norm_rows(x.numel() // width, width, *places, torch.get_num_threads())
    return out


@operator("(Tensor pre, Tensor linear, int kind) -> Tensor", lambda pre, linear, kind: pre.new_empty(pre.shape))  # noqa: ARG005
def gate(pre: Tensor, linear: Tensor, kind: int) -> Tensor:
    """f(pre) · linear, of any shape. kind: which f (see `rows.KINDS`)."""
    pre, linear, out = pre.contiguous(), linear.contiguous(), pre.new_empty(pre.shape)
    places = pre.data_ptr(), linear.data_ptr(), out.data_ptr()
    _kernels().gate_rows(pre.numel(), kind, *places, torch.get_num_threads())
    return out


@operator(
    "(Tensor x, Tensor cos, Tensor sin, bool is_interleaved) -> Tensor",
    lambda x, cos, sin, is_interleaved: _like_heads(x),  # noqa: ARG005 (of its shape)
)
def rotate(x: Tensor, cos: Tensor, sin: Tensor, is_interleaved: bool) -> Tensor:
    """Rotary positions. x: [batch, head, position, d_head]; cos, sin: [batch or 1, 1, position, d_rotated / 2] -> as x."""
    (batch, heads, positions, width), x = x.shape, _by_rows(x)
    cos, sin, out = cos.contiguous(), sin.contiguous(), _like_heads(x)
    apart = 0 if len(cos) == 1 else positions * cos.shape[-1]
    shape = Turning(batch, heads, positions, width, cos.shape[-1], is_interleaved, (SIZE * 3)(*x.stride()[:3]), apart)
    places = x.data_ptr(), cos.data_ptr(), sin.data_ptr(), out.data_ptr()
    _kernels().rotate_rows(ctypes.addressof(shape), *places, torch.get_num_threads())
    return out


def _product(a: Tensor, b: Tensor, out: Tensor, *, bias: Tensor | None = None, row_sums: Tensor | None = None) -> None:
    """out = a · b (+ bias), and the sums of a's rows. a, b: two axes each, by their strides; out: contiguous."""
    given = (a.data_ptr(), *a.stride(), b.data_ptr(), *b.stride(), out.data_ptr(), out.shape[1])
    _kernels().product(*out.shape, a.shape[1], *given, _place(bias), _place(row_sums), torch.get_num_threads())


def _shape(q: Tensor, k: Tensor, scale: float, is_causal: bool) -> Shape:
    sizes = (*q.shape[:2], k.shape[1], q.shape[2], k.shape[2], q.shape[3])
    return Shape(*sizes, scale, is_causal, torch.get_num_threads())


def _heads(*tensors: Tensor) -> Sequence[Any]:
    return [ctypes.byref(Heads(tensor.data_ptr(), *tensor.stride()[:3])) for tensor in tensors]


def _place(tensor: Tensor | None) -> int | None:
    return None if tensor is None else tensor.data_ptr()


def _by_rows(x: Tensor) -> Tensor:
    return x if x.stride(-1) == 1 else x.contiguous()


def _like_heads(x: Tensor) -> Tensor:
    """Room for [batch, head, position, d_head], laid out as the projections are: heads side by side."""
    batch, heads, positions, width = x.shape
    return x.new_empty(batch, positions, heads, width).transpose(1, 2)


def _kernels() -> Library:
    kernels = library()
    assert not isinstance(kernels, str), "who calls has looked whether they are here"
    return kernels

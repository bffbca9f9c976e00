"""How numbers lie in a GGUF file. In: bytes of one kind. Out: numbers, and numbers -> bytes.

A quantised kind stores blocks of numbers that share a scale (ggml-quants: Q8_0, Q4_0 and the like in 32s, the K kinds in 256s).
The blocks are read and written by the `gguf` package; plain kinds are views.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from .package import gguf_package


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to store numbers. number: its number in a file. A block of `block` numbers takes `size` bytes.

    dtype: the type that holds what is stored exactly.
    """

    name: str
    number: int
    block: int
    size: int
    dtype: torch.dtype

    @property
    def is_plain(self) -> bool:
        """Whether every number stands for itself."""
        return self.block == 1


F32 = Kind("F32", 0, 1, 4, torch.float32)
F16 = Kind("F16", 1, 1, 2, torch.float16)
BF16 = Kind("BF16", 30, 1, 2, torch.bfloat16)
Q8_0 = Kind("Q8_0", 8, 32, 34, torch.float32)
Q4_0 = Kind("Q4_0", 2, 32, 18, torch.float32)
Q4_1 = Kind("Q4_1", 3, 32, 20, torch.float32)
Q5_0 = Kind("Q5_0", 6, 32, 22, torch.float32)
Q5_1 = Kind("Q5_1", 7, 32, 24, torch.float32)
Q2_K = Kind("Q2_K", 10, 256, 84, torch.float32)
Q3_K = Kind("Q3_K", 11, 256, 110, torch.float32)
Q4_K = Kind("Q4_K", 12, 256, 144, torch.float32)
Q5_K = Kind("Q5_K", 13, 256, 176, torch.float32)
Q6_K = Kind("Q6_K", 14, 256, 210, torch.float32)

_ALL = (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K)
KINDS = {kind.number: kind for kind in _ALL}
WRITABLE = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0, "q4_0": Q4_0}  # as they are asked for


def decoded(raw: Tensor, kind: Kind) -> Tensor:
    """Whole blocks of bytes -> the numbers in them, in the kind's dtype; plain ones as a view."""
    if kind.is_plain:
        return raw.view(kind.dtype)
    quants = gguf_package().quants
    with np.errstate(all="ignore"):  # what is not finite is reported with the tensor's name
        numbers = quants.dequantize(raw.numpy().reshape(1, -1), _type_of(kind))
    return torch.from_numpy(numbers).flatten()


def encoded(numbers: Tensor, kind: Kind) -> np.ndarray:
    """Rows of finite numbers, whose length is in whole blocks -> their bytes, row by row."""
    if kind.is_plain:
        return numbers.to(kind.dtype).contiguous().view(torch.uint8).numpy()
    with np.errstate(all="ignore"):
        found: np.ndarray = gguf_package().quants.quantize(numbers.float().contiguous().numpy(), _type_of(kind))
    return found


def _type_of(kind: Kind) -> object:
    return gguf_package().GGMLQuantizationType(kind.number)

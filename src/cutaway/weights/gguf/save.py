"""A model and its tokenizer -> a .gguf file that llama.cpp runs. In: both, and the kind of numbers. Out: a file, whole or not.

Vectors and tables of positions stay fp32, as in llama.cpp's own conversion; so does a matrix keep fp16 whose rows are not in
whole blocks, and the matrix that makes the logits is never below Q8_0. Tensors are converted and written one at a time.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import CutawayError
from ...model import Transformer
from ...text import Tokenizer
from ..atomic import write_file
from ..check import check_numbers
from ..layout import join, stored_shape
from ..names import Mapped
from ..places import Places
from .architecture import EMBEDDING, HEAD, Architecture
from .describe import extra_tensors, find_architecture, metadata_of, name_table
from .kinds import F16, F32, Q4_0, Q8_0, Kind, encoded
from .package import gguf_package
from .reader import MAGIC
from .restated import restated
from .template import TEMPLATE
from .vocabulary import tokenizer_metadata

FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q8_0": 7, "BF16": 32}  # llama.h, llama_ftype


@dataclass(frozen=True, slots=True)
class _Planned:
    """One tensor to write. shape: as in the file."""

    entry: Mapped
    kind: Kind
    shape: tuple[int, ...]

    @property
    def num_bytes(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64)) // self.kind.block * self.kind.size


def save(
    path: Path,
    model: Transformer,
    tokenizer: Tokenizer | None,
    *,
    kind: Kind = F16,
    name: str = "",
    licence: str | None = None,
    template: str | None = None,
) -> None:
    """Write or replace a .gguf file, whole or not at all.

    kind: of the matrices. name, licence: of the model, for people. template: its chat template (Jinja).

    Raises CutawayError for a model or tokenizer that llama.cpp would run differently, for weights that are not finite, and
    if the system refuses. Only a .gguf file is replaced.
    """
    path = Path(path)
    _refuse_foreign(path)
    config, tensors = restated(model.config, Places(model).tensors)
    architecture, family = find_architecture(config)
    vocabulary = tokenizer_metadata(tokenizer, config)
    mapped = name_table(architecture, family, config, tensors)
    planned = [_plan(entry, tensors, kind, architecture, is_tied=config.is_tied) for entry in mapped]
    extra = extra_tensors(architecture, config)
    planned += [_Planned(Mapped(name, (name,), ()), F32, tuple(tensor.shape)) for name, tensor in extra.items()]
    described = metadata_of(architecture, family, config, {each.entry.theirs: each.shape for each in planned})
    keys = {
        "general.name": name or None,
        "general.license": licence,
        "general.file_type": FILE_TYPES[kind.name],
        "general.quantization_version": gguf_package().GGML_QUANT_VERSION,
        **described,
        **vocabulary,
        TEMPLATE: template,
    }
    write_file(path, lambda temporary: _write(temporary, architecture, keys, planned, {**tensors, **extra}))


def _plan(
    entry: Mapped, tensors: Mapping[str, Tensor], kind: Kind, architecture: Architecture, *, is_tied: bool
) -> _Planned:
    shape = tuple(stored_shape(entry.layout, [tuple(tensors[name].shape) for name in entry.ours]))
    if len(shape) < 2 or _is_among(architecture.exact, entry):
        return _Planned(entry, F32, shape)
    if _is_among(architecture.plain, entry):  # one that came from fp16 stays so, and with it the formula that it rounds
        is_half = all(torch.equal(tensors[name], tensors[name].half().to(tensors[name].dtype)) for name in entry.ours)
        return _Planned(entry, F16 if is_half else F32, shape)
    if kind is Q4_0 and entry.theirs == (EMBEDDING if is_tied else HEAD):
        kind = Q8_0
    return _Planned(entry, F16 if shape[-1] % kind.block else kind, shape)


def _is_among(patterns: tuple[str, ...], entry: Mapped) -> bool:
    return any(re.fullmatch(pattern, entry.theirs) for pattern in patterns)


def _write(
    path: Path,
    architecture: Architecture,
    keys: Mapping[str, Any],
    planned: list[_Planned],
    tensors: Mapping[str, Tensor],
) -> None:
    gguf = gguf_package()
    writer = gguf.GGUFWriter(path, architecture.name)
    try:
        for key, value in keys.items():
            _add(writer, key, value)
        for each in planned:
            kind = gguf.GGMLQuantizationType(each.kind.number)
            writer.add_tensor_info(each.entry.theirs, each.shape, np.dtype(np.float32), each.num_bytes, kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in planned:
            writer.write_tensor_data(_content(each, tensors))
    finally:
        writer.close()


def _add(writer: Any, key: str, value: Any) -> None:
    """One key: whole numbers in 4 bytes, as llama.cpp reads its own."""
    if isinstance(value, bool):
        writer.add_bool(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    elif isinstance(value, float):
        writer.add_float32(key, value)
    elif isinstance(value, str):
        writer.add_string(key, value)
    elif value is not None:
        writer.add_array(key, value)


def _content(planned: _Planned, tensors: Mapping[str, Tensor]) -> np.ndarray:
    """The bytes of a tensor."""
    entry, kind = planned.entry, planned.kind
    otherwise = (
        f"as {kind.name}, so nothing was saved. Training diverged (go on from the last good checkpoint), or the numbers are "
        "too large for this kind (save as f32 or bf16)."
    )
    tensor = join(entry.layout, [tensors[name].detach().cpu() for name in entry.ours])
    stored = tensor.to(kind.dtype)
    check_numbers(entry.theirs, stored, otherwise)
    if not kind.is_plain:  # a block's scale is fp16
        check_numbers(entry.theirs, stored.abs().max().half(), otherwise)
    return encoded(stored, kind)


def _refuse_foreign(path: Path) -> None:
    if path.is_dir():
        raise CutawayError(f"{path} is a directory. Name a file that ends in .gguf.")
    if path.exists():
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise CutawayError(f"{path} exists and is no .gguf file. It was left as it is: choose another name.")

"""What is said of an adapter beside its numbers, in PEFT's `adapter_config.json`. In: the file. Out: settings, and back.

A key that changes what an adapter computes, and that Cutaway does not compute, is refused; so is an unknown one that is on.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import CutawayError
from ..model.adapter import LowRank
from ..model.masks import Masks
from ..strict import build
from .families.fields import Fields
from .files import read_json

CONFIG = "adapter_config.json"
AT, AT_MASKS = "at", "masks"
OURS = "cutaway"  # what PEFT's adapters have not: where they act, and what the model then predicts
READ = ("peft_type", "r", "lora_alpha", "lora_dropout", "use_rslora", "rank_pattern", "alpha_pattern", "bias", OURS)
# How it was trained, for whom, and how its first numbers were found: what it computes is in the tensors.
SILENT = (
    *("peft_version", "auto_mapping", "revision", "base_model_name_or_path", "task_type", "inference_mode"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern", "fan_in_fan_out"),
    *("init_lora_weights", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "qalora_group_size"),
    *("runtime_config", "megatron_config", "megatron_core"),
)
FIRST_NUMBERS = (None, True, False, "gaussian", "eva", "orthogonal")  # others change the weights of the base too
PATTERN = re.compile(r"\^?(?:[\w-]|\\?\.[*+]?|\\d\+?)+\$?")
MOST_REPEATS = 3  # in a pattern: what a file may ask of the regular expressions


@dataclass(frozen=True, kw_only=True)
class Settings:
    """An adapter_config.json. ranks, alphas: of modules that have others than most, by PEFT's patterns of their names. masks: of
    adapters that act at masks alone."""

    rank: int
    alpha: float
    dropout: float = 0.0
    is_rank_stabilised: bool = False
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)
    base: str = ""
    masks: Masks | None = None

    def of(self, module: str) -> LowRank:
        """What holds for one module of theirs."""
        return LowRank(
            rank=_first(self.ranks, module, self.rank),
            alpha=_first(self.alphas, module, self.alpha),
            dropout=self.dropout,
            is_rank_stabilised=self.is_rank_stabilised,
            is_at_masks=self.masks is not None,
        )


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter and no model."""
    return (directory / CONFIG).is_file() and not (directory / "config.json").is_file()


def read_settings(directory: Path) -> Settings:
    """The settings in a directory. Raises CutawayError for a file that is missing or damaged, and for what is not plain LoRA."""
    path = directory / CONFIG
    if not path.is_file():
        raise CutawayError(
            f"{directory} holds no {CONFIG}, so it is no adapter. It needs {CONFIG} and adapter_model.safetensors."
        )
    fields = Fields(read_json(path), str(path))
    _refuse_others(fields)
    ranks, alphas = fields.table("rank_pattern"), fields.table("alpha_pattern")
    for key, value in {**alphas, **ranks}.items():
        _check_pattern(fields, key, value)
    settings = Settings(
        rank=fields.integer("r"),
        alpha=fields.number("lora_alpha", 8.0),
        dropout=fields.number("lora_dropout", 0.0),
        is_rank_stabilised=fields.boolean("use_rslora", False),
        ranks=ranks,
        alphas=alphas,
        base=str(fields.data.get("base_model_name_or_path") or ""),
        masks=_masks(fields),
    )
    _check_values(fields, settings)
    return settings


def write_settings(directory: Path, settings: Settings, modules: list[str], task: str | None, is_turned: bool) -> None:
    """Write the file. modules: theirs, by name; task: PEFT's word for the kind of model; is_turned: matrices [d_in, d_out]."""
    data: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": task,
        "base_model_name_or_path": settings.base or None,
        "inference_mode": True,
        "r": settings.rank,
        "lora_alpha": _whole(settings.alpha),
        "lora_dropout": settings.dropout,
        "use_rslora": settings.is_rank_stabilised,
        "fan_in_fan_out": is_turned,
        "bias": "none",
        "target_modules": modules,
        "rank_pattern": dict(settings.ranks),
        "alpha_pattern": {name: _whole(alpha) for name, alpha in settings.alphas.items()},
        "init_lora_weights": True,
        "modules_to_save": None,
    }
    if settings.masks is not None:
        data[OURS] = {AT: AT_MASKS, **asdict(settings.masks)}
    (directory / CONFIG).write_text(json.dumps(data, indent=2) + "\n", "utf-8")


def _masks(fields: Fields) -> Masks | None:
    """What our own table says, all of which is needed to compute what was trained."""
    if fields.data.get(OURS) is None:
        return None
    table = dict(fields.table(OURS))
    if table.pop(AT, None) != AT_MASKS:
        raise fields.fault(OURS, f"a table in which {AT} is '{AT_MASKS}'")
    try:
        return build(Masks, table)
    except CutawayError as error:
        raise CutawayError(f"{fields.where}: '{OURS}': {error}") from error


def _refuse_others(fields: Fields) -> None:
    data, where = fields.data, fields.where
    if data.get("peft_type") != "LORA":
        raise CutawayError(
            f"{where} describes an adapter of the kind {_shown(data.get('peft_type'))}. Cutaway reads LORA."
        )
    if data.get("init_lora_weights") not in FIRST_NUMBERS:
        raise CutawayError(
            f"{where}: init_lora_weights is {_shown(data['init_lora_weights'])}, which changed the weights of the base as well. "
            "Save it with PEFT's path_initial_model_for_weight_conversion, as a plain adapter."
        )
    if data.get("bias", "none") != "none":
        raise CutawayError(f"{where}: bias is {_shown(data['bias'])}. Cutaway reads adapters without biases: 'none'.")
    for key, value in data.items():
        if value and key not in READ and key not in SILENT:
            raise CutawayError(
                f"{where}: {key[:80]} is {_shown(value)}, which Cutaway's adapters do not have. Merge the adapter with PEFT "
                "(merge_and_unload), and open the merged model."
            )


def _check_pattern(fields: Fields, key: str, value: object) -> None:
    repeats = sum(key.count(sign) for sign in ("*", "+"))
    if len(key) > 300 or repeats > MOST_REPEATS or PATTERN.fullmatch(key) is None:
        raise CutawayError(
            f"{fields.where}: rank_pattern or alpha_pattern has the name '{key[:80]}'. Cutaway reads names of modules, with at "
            f"most {MOST_REPEATS} of .* and \\d+ in them."
        )
    is_rank = key in fields.table("rank_pattern")
    if type(value) is not int and (is_rank or type(value) is not float):
        raise CutawayError(f"{fields.where}: the rank or alpha of '{key[:80]}' is {_shown(value)}. It takes a number.")


def _check_values(fields: Fields, settings: Settings) -> None:
    for rank in (settings.rank, *settings.ranks.values()):
        if rank < 1:
            raise CutawayError(f"{fields.where}: a rank is {rank}. It takes a whole number from 1.")
    for alpha in (settings.alpha, *settings.alphas.values()):
        if type(alpha) not in (int, float) or not math.isfinite(alpha):
            raise CutawayError(f"{fields.where}: an alpha is {_shown(alpha)}. It takes a number.")
    if not 0 <= settings.dropout < 1:
        raise fields.fault("lora_dropout", "a number from 0 to below 1")


def _first(patterns: Mapping[str, Any], module: str, otherwise: Any) -> Any:
    """The value of the first pattern that is the whole name, or its end from a dot on."""
    found = (value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module))
    return next(found, otherwise)


def _whole(number: float) -> float | int:
    return int(number) if number == int(number) else number


def _shown(value: object) -> str:
    return repr(value)[:80]

"""A recipe: everything that decides a training run. In: a TOML file and `key=value` changes. Out: a checked `Recipe`.

Strict: an unknown key is an error that names its nearest neighbour. Paths in a recipe are relative to its own folder.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ..config import ModelConfig, StackConfig, TokenIds
from ..decode.samplers import Sampling
from ..errors import CutawayError, near
from ..strict import build
from .adapters import AdapterConfig
from .objective import ObjectiveRecipe
from .recipe_data import DataRecipe, DialoguesRecipe, PairsRecipe, QuestionsRecipe, at_least, check, resolved

NAME = re.compile(r"\w[\w.-]*")

TokenizerKind = Literal["character", "word", "byte", "bpe"]


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """How text becomes tokens. vocab_size: the most ids, specials included (bpe needs it). path: take this one instead.

    Word, byte and bpe kinds reserve end, pad, mask and chat-role tokens, and `num_spares` more. keep_words: one token each.
    merges: within what those of bpe stay, words or whole sentences (Liu et al. 2025).
    """

    kind: TokenizerKind = "bpe"
    vocab_size: int | None = None
    num_spares: int = 0
    keep_words: tuple[str, ...] = ()
    merges: Literal["words", "sentences"] = "words"
    path: str | None = None


@dataclass(frozen=True, kw_only=True)
class ModelRecipe:
    """The architecture but for what the tokenizer decides. Keys of [model.decoder] and [model.encoder] are those of
    `StackConfig`. embedding_scale: on token embeddings. initial_std: the deviation of the first weights."""

    context: int
    decoder: StackConfig
    encoder: StackConfig | None = None
    is_tied: bool = True
    embedding_scale: float = 1.0
    initial_std: float = 0.02

    def __post_init__(self) -> None:
        at_least("model.context", self.context, 1)
        check("model.initial_std", self.initial_std, 0 < self.initial_std < math.inf, "above 0")

    def config(self, vocab_size: int, tokens: TokenIds) -> ModelConfig:
        """The model's config for a vocabulary and its ids with a role."""
        return ModelConfig(
            vocab_size=vocab_size,
            context=self.context,
            decoder=self.decoder,
            encoder=self.encoder,
            is_tied=self.is_tied,
            embedding_scale=self.embedding_scale,
            tokens=tokens,
        )


@dataclass(frozen=True, kw_only=True)
class OptimiserRecipe:
    """adamw (Loshchilov & Hutter 2019) on everything, or muon (Jordan et al. 2024) on the layers' matrices and adamw
    on the rest. weight_decay is for matrices only. clip: the longest gradient (its norm); inf never shortens it."""

    kind: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    muon_learning_rate: float = 0.02
    beta1: float = 0.9
    beta2: float = 0.99
    momentum: float = 0.95
    weight_decay: float = 0.1
    clip: float | None = 1.0

    def __post_init__(self) -> None:
        for name in ("learning_rate", "muon_learning_rate", "weight_decay"):
            value = getattr(self, name)
            check(f"optimiser.{name}", value, 0 <= value < math.inf, "0 or more")
        for name in ("beta1", "beta2", "momentum"):
            value = getattr(self, name)
            check(f"optimiser.{name}", value, 0 <= value < 1, "from 0 to below 1")
        if self.clip is not None:
            check("optimiser.clip", self.clip, self.clip > 0, "above 0 (inf switches it off)")


@dataclass(frozen=True, kw_only=True)
class ScheduleRecipe:
    """The learning rate over steps, as a factor. cosine falls over all steps; wsd (warm-up, stable, decay) only in the last
    `decay_share`; both fall towards `final`, which the step after the last would have."""

    kind: Literal["cosine", "wsd", "constant"] = "cosine"
    warmup_steps: int = 100
    decay_share: float = 0.2
    final: float = 0.1

    def __post_init__(self) -> None:
        at_least("schedule.warmup_steps", self.warmup_steps, 0)
        check("schedule.decay_share", self.decay_share, 0 < self.decay_share <= 1, "above 0 and at most 1")
        check("schedule.final", self.final, 0 <= self.final <= 1, "from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """How long, how much at a time, how often to look. context: tokens in a row, None: the model's own. batch_size: windows in
    a micro-batch, of [data], [dialogues] and [questions]; batch_tokens: tokens in one, both sides and padding included, of
    [pairs] and of answers that are written; accumulate: micro-batches a step.

    label_smoothing: the share of each target that is spread over the vocabulary (Szegedy et al. 2016). average: the run ends
    with the mean of its last checkpoints' weights, so many; 1: with the last. precision: bf16 multiplies in bfloat16 and keeps
    fp32 weights (mixed precision; Micikevicius et al. 2018). device: auto takes a GPU where there is one.
    """

    steps: int
    context: int | None = None
    batch_size: int | None = None
    batch_tokens: int | None = None
    accumulate: int = 1
    label_smoothing: float = 0.0
    average: int = 1
    precision: Literal["fp32", "bf16"] = "fp32"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    evaluate_every: int = 500
    evaluate_batch_size: int = 32
    sample_every: int = 500
    save_every: int = 500
    keep: int = 2
    threads: int | None = None

    def __post_init__(self) -> None:
        for name in ("steps", "accumulate", "average", "evaluate_batch_size", "keep"):
            at_least(f"training.{name}", getattr(self, name), 1)
        for name in ("batch_size", "batch_tokens", "context"):
            if getattr(self, name) is not None:
                at_least(f"training.{name}", getattr(self, name), 1)
        check("training.label_smoothing", self.label_smoothing, 0 <= self.label_smoothing < 1, "from 0 to below 1")
        check("training.keep", self.keep, self.keep >= self.average, f"at least training.average, {self.average}")
        for name in ("evaluate_every", "sample_every", "save_every"):
            at_least(f"training.{name}", getattr(self, name), 1)
        if self.threads is not None:
            at_least("training.threads", self.threads, 1)


@dataclass(frozen=True, kw_only=True)
class SampleRecipe:
    """The sample shown while training. prompt: with [questions], asked of the first context held out; blank: that one's own."""

    prompt: str = "\n"
    max_tokens: int = 60
    temperature: float = 0.8

    def __post_init__(self) -> None:
        at_least("sample.max_tokens", self.max_tokens, 1)
        Sampling(temperature=self.temperature)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides a run; two runs of one recipe on one machine are bitwise equal.

    base: a model to go on from, by place or name, with its architecture and tokenizer; then there is no [model], no [tokenizer].
    [adapter]: the base stays as it is, and low-rank adapters beside its matrices are trained.
    """

    name: str
    training: TrainingRecipe
    base: str | None = None
    adapter: AdapterConfig | None = None
    model: ModelRecipe | None = None
    data: DataRecipe | None = None
    pairs: PairsRecipe | None = None
    dialogues: DialoguesRecipe | None = None
    questions: QuestionsRecipe | None = None
    description: str = ""
    licence: str = ""
    seed: int = 1
    objective: ObjectiveRecipe = field(default_factory=ObjectiveRecipe)
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    optimiser: OptimiserRecipe = field(default_factory=OptimiserRecipe)
    schedule: ScheduleRecipe = field(default_factory=ScheduleRecipe)
    sample: SampleRecipe = field(default_factory=SampleRecipe)

    def __post_init__(self) -> None:
        is_name = NAME.fullmatch(self.name) is not None
        check("name", repr(self.name), is_name, "letters, digits, '-', '_' and '.', for a directory is named after it")
        at_least("seed", self.seed, 0)
        self._check_data()

    @property
    def marks_answers(self) -> bool:
        """Whether the model learns to mark answers in their contexts."""
        return self.questions is not None and self.questions.answers == "marked"

    @property
    def writes_answers(self) -> bool:
        """Whether the model learns to write answers to questions."""
        return self.questions is not None and self.questions.answers == "written"

    def _check_data(self) -> None:
        """One kind of data, and the keys that go with it."""
        given = [name for name in ("data", "pairs", "dialogues", "questions") if getattr(self, name) is not None]
        if len(given) != 1:
            found = "none is there" if not given else f"{' and '.join(given)} are there"
            kinds = "[[data.train]] (texts), [[pairs.train]], [[dialogues.train]] or [[questions.train]]"
            raise CutawayError(f"A recipe has one of {kinds}, and {found}.")
        self._check_objective(given[0])
        is_by_tokens = self.pairs is not None or self.writes_answers
        wanted, other = ("batch_tokens", "batch_size") if is_by_tokens else ("batch_size", "batch_tokens")
        if getattr(self.training, wanted) is None or getattr(self.training, other) is not None:
            raise CutawayError(
                f"With [{given[0]}], a batch is measured by training.{wanted}. Give it, and no training.{other}."
            )
        if (self.base is None) == (self.model is None):
            found = "neither is there" if self.model is None else "both are there"
            raise CutawayError(
                f"A recipe has either a [model] to train from scratch or a base to go on from, and {found}."
            )
        if self.dialogues is not None and self.base is None:
            raise CutawayError(
                "[dialogues] are for a model that has learned to write: name a base, say base = 'stories'."
            )
        if self.adapter is not None and (self.base is None or self.training.average > 1):
            raise CutawayError(
                "[adapter] needs a base to stand beside, and has no mean: name a base, and no training.average."
            )
        if self.marks_answers:
            self._check_marking()
        if self.base is not None and self.tokenizer != TokenizerRecipe():
            raise CutawayError(f"The base {self.base} brings its own tokenizer. Leave [tokenizer] out.")
        if self.model is not None and (self.pairs is None) != (self.model.encoder is None):
            has, lacks = ("pairs", "model.encoder") if self.pairs is not None else ("model.encoder", "pairs")
            raise CutawayError(
                f"The recipe has [{has}] and no [{lacks}]. An encoder reads sources: give both, or none."
            )

    def _check_objective(self, given: str) -> None:
        """What goes with hidden tokens. given: the kind of data."""
        if self.objective.kind != "next" and self.data is None and self.dialogues is None:
            raise CutawayError(
                f"objective.kind is '{self.objective.kind}', and there are [{given}]. Hidden tokens are for "
                "[data] and [dialogues]."
            )
        if self.adapter is not None and self.adapter.at == "masks" and self.objective.kind != "hybrid":
            raise CutawayError(
                f"adapter.at is 'masks' and objective.kind is '{self.objective.kind}'. At masks a base learns to draft, and says "
                "what it said before: take objective.kind = 'hybrid'."
            )
        if self.objective.kind != "next" and self.training.label_smoothing:
            raise CutawayError(
                f"training.label_smoothing is {self.training.label_smoothing} and objective.kind is '{self.objective.kind}'. The "
                "mask has no probability, so none can be given to it: leave label_smoothing out."
            )

    def _check_marking(self) -> None:
        """What goes with answers that are marked: a base, all of which is trained, and targets that are places."""
        if self.base is None or self.adapter is not None or self.training.label_smoothing:
            raise CutawayError(
                "To mark answers takes a base, which gets new scores for where they begin and end: name one, and leave out "
                "[model], [adapter] (it holds no such scores) and training.label_smoothing (most places cannot answer)."
            )


def load_recipe(name: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe by path or by the name of a bundled one, with changes like `training.steps=100` applied.

    Raises CutawayError for a missing file, invalid TOML, unknown keys or impossible values.
    """
    path = find_recipe(name)
    try:
        data = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise CutawayError(f"The recipe {path} cannot be read: {error.strerror}. Check its permissions.") from None
    except tomllib.TOMLDecodeError as error:
        raise CutawayError(f"{path} is not valid TOML: {error}. Mend that line and run again.") from None
    except UnicodeDecodeError:
        raise CutawayError(f"{path} is not a text file. A recipe is a TOML file in UTF-8.") from None
    for change in changes:
        _apply(data, change)
    recipe = build(Recipe, data)
    folder = path.parent.resolve()
    return replace(
        recipe,
        data=resolved(recipe.data, folder),
        pairs=resolved(recipe.pairs, folder),
        dialogues=resolved(recipe.dialogues, folder),
        questions=resolved(recipe.questions, folder),
        tokenizer=_resolve_path(recipe.tokenizer, folder),
        base=_resolve_base(recipe.base, folder),
    )


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path that exists, or a bundled name."""
    path = Path(name).expanduser()
    if os.path.isfile(path):
        return path
    bundled = bundled_recipes()
    if name in bundled:
        return bundled[name]
    raise CutawayError(
        f"There is no recipe '{name:.80}': no such file, and no bundled recipe of that name.{near(name, bundled)}"
    )


def bundled_recipes() -> dict[str, Path]:
    """The recipes that come with the package, by name."""
    root = Path(str(files("cutaway"))) / "recipes"
    return {path.stem: path for path in sorted(root.glob("*/*.toml"))}


def _apply(data: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not key.strip():
        raise CutawayError(f"'{change}' is not a change. Write key=value, for example training.steps=200.")
    *parents, last = key.strip().split(".")
    table = data
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise CutawayError(f"'{key}' goes through '{parent}', which is not a table in this recipe.")
    table[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _resolve_path(tokenizer: TokenizerRecipe, folder: Path) -> TokenizerRecipe:
    return replace(tokenizer, path=str(folder / Path(tokenizer.path).expanduser())) if tokenizer.path else tokenizer


def _resolve_base(base: str | None, folder: Path) -> str | None:
    """A place beside the recipe, or a name as it is."""
    return str(folder / base) if base is not None and (folder / base).exists() else base

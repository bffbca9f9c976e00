"""The one public object: tokenizer + model + sessions + lens. In: a path or a name. Out: text, logits, traces.

lm = cutaway.load("stories")
lm.generate("Once upon a time", max_tokens=50)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

from .config import ModelConfig
from .decode import Engine, Event, Figures, Sampling, Session, StopText, autoregressive, run
from .errors import CutawayError, near
from .lens.sites import Site, sites
from .lens.trace import Recorder, Trace
from .model import Call, Transformer
from .model import visibility as visible
from .runtime.attend import fused
from .text import StreamDecoder, Tokenizer
from .train.run_directory import complete_checkpoints
from .weights import checkpoint


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a stream: the event, and the text that it made certain (often "", at a partial character or stop)."""

    event: Event
    text: str


class LM:
    """A language model with its tokenizer. Make one with `load`."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer | None, name: str) -> None:
        self.model, self.name = model, name
        self._tokenizer = tokenizer
        self.figures = Figures()
        """Passes, tokens and seconds of the last `generate` or `stream`."""

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.model.config

    @property
    def tokenizer(self) -> Tokenizer:
        """Text <-> ids. Raises CutawayError for a model that came without one."""
        if self._tokenizer is None:
            raise CutawayError(
                f"'{self.name}' has no tokenizer.json, so it reads and writes ids only. Put one beside it."
            )
        return self._tokenizer

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> str:
        """Continue a prompt; the prompt itself is not repeated.

        prompt: text or ids. max_tokens: how many are chosen at most. sampling: how (greedy if None). stop: strings that
        end the text and are left out. Raises CutawayError for what the model or the settings do not allow.
        """
        return "".join(piece.text for piece in self.stream(prompt, max_tokens=max_tokens, sampling=sampling, stop=stop))

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        request: int = 0,
    ) -> Iterator[Piece]:
        """As `generate`, but every event as it happens, with the text that it made certain."""
        self.figures = Figures()
        text = _Text(self.tokenizer, stop)
        decoder = autoregressive(
            Session(self.model),
            self.ids(prompt),
            sampling or Sampling(temperature=0),
            max_tokens=max_tokens,
            request=request,
        )
        last: Event | None = None
        for event in run(decoder, self.figures):
            certain, is_stopped = text.push(event)
            yield Piece(event, certain)
            last = event
            if is_stopped:
                return
        if last is not None and (rest := text.finish()):
            yield Piece(last, rest)

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> list[str]:
        """Continue many prompts in shared passes; each gets the tokens that it would get alone."""
        engine: Engine[int] = Engine()
        how = sampling or Sampling(temperature=0)
        texts = [_Text(self.tokenizer, stop) for _ in prompts]
        found = ["" for _ in prompts]
        decoders = [
            autoregressive(Session(self.model), self.ids(prompt), how, max_tokens=max_tokens, request=index)
            for index, prompt in enumerate(prompts)
        ]
        for index, event in engine.run(decoders):
            certain, is_stopped = texts[index].push(event)
            found[index] += certain
            if is_stopped:
                engine.cancel(index)
        return [start + text.finish() for start, text in zip(found, texts, strict=True)]

    def ids(self, prompt: str | Sequence[int]) -> list[int]:
        """The ids of a prompt: encoded text, or the ids themselves."""
        return self.tokenizer.encode(prompt) if isinstance(prompt, str) else list(prompt)

    @torch.inference_mode()
    def logits(self, ids: Tensor | Sequence[int]) -> Tensor:
        """One causal pass. ids: [batch, position] or [position] -> logits [batch, position, vocab]."""
        rows = self._rows(ids)
        logits: Tensor = self.model(rows, Call(visible.causal(rows.shape[1]), attend=fused))
        return logits

    def sites(self, prompt: str | Sequence[int] | Tensor) -> list[Site]:
        """Every site of a pass over the prompt, with its shape, before anything runs."""
        batch, length = self._prompt_rows(prompt).shape
        return sites(self.config, batch, length)

    @torch.inference_mode()
    def trace(self, prompt: str | Sequence[int] | Tensor, sites: str | Sequence[str] = "*") -> Trace:
        """Run a prompt once and keep the tensors of the named sites: `trace["layers.0.attention.weights"]`.

        prompt: text, ids [position] or ids [batch, position]. sites: names with `*`; one that names nothing is an error.
        """
        rows = self._prompt_rows(prompt)
        recorder = Recorder(sites, [site.name for site in self.sites(rows)])
        self.model(rows, Call(visible.causal(rows.shape[1]), attend=fused, watch=recorder))
        tokens = [] if self._tokenizer is None else [self._tokenizer.token_text(int(i)) for i in rows[0]]
        return recorder.trace(rows, tokens)

    def _prompt_rows(self, prompt: str | Sequence[int] | Tensor) -> Tensor:
        return self._rows(self.ids(prompt) if isinstance(prompt, str) else prompt)

    def _rows(self, ids: Tensor | Sequence[int]) -> Tensor:
        rows = torch.as_tensor(ids)
        rows = rows.unsqueeze(0) if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] == 0:
            raise CutawayError(f"Ids have the shape {tuple(rows.shape)}. Give at least one id: [batch, position].")
        if int(rows.max()) >= self.config.vocab_size or int(rows.min()) < 0:
            raise CutawayError(f"An id is outside the vocabulary: ids run from 0 to {self.config.vocab_size - 1}.")
        if self.config.main.position.is_table and rows.shape[1] > self.config.context:
            raise CutawayError(
                f"{rows.shape[1]} tokens are more than this model reads, {self.config.context}. Shorten them."
            )
        return rows


class _Text:
    """Events -> certain text: never part of a character, never part of a stop string, no special token."""

    def __init__(self, tokenizer: Tokenizer, stop: Sequence[str]) -> None:
        self.decoder = StreamDecoder(tokenizer, skip_special=True)
        self.stop = StopText(stop)

    def push(self, event: Event) -> tuple[str, bool]:
        if not event.is_final or event.new is None:
            return "", False
        return self.stop.push(self.decoder.push(event.new))

    def finish(self) -> str:
        text, is_stopped = self.stop.push(self.decoder.finish())
        return text if is_stopped else text + self.stop.finish()


def load(name: str | Path) -> LM:
    """Open a model: a checkpoint directory, a run directory (its newest checkpoint), or the name of a bundled model.

    Raises CutawayError for anything else, and for a checkpoint that is damaged. Nothing reaches the network.
    """
    directory = find(str(name))
    tokenizer = Tokenizer.load(directory) if (directory / "tokenizer.json").exists() else None
    return LM(checkpoint.load(directory), tokenizer, str(name))


def find(name: str) -> Path:
    """The checkpoint directory that a name stands for."""
    path = Path(name).expanduser()
    if (path / "config.json").is_file():
        return path
    if (path / "recipe.json").is_file():
        found = complete_checkpoints(path)
        if not found:
            raise CutawayError(f"The run in {path} has no complete checkpoint yet. Train it further first.")
        return found[-1][1]
    bundled = bundled_models()
    if name in bundled:
        return bundled[name]
    if path.exists():
        raise CutawayError(
            f"{path} is no model: it holds neither a config.json nor a run. Name a checkpoint directory."
        )
    raise CutawayError(
        f"There is no model '{name}': no such directory, and no bundled model of that name.{near(name, bundled)}"
    )


def bundled_models() -> dict[str, Path]:
    """The models that come with the package, by name."""
    root = Path(str(files("cutaway"))) / "models"
    return {path.parent.name: path.parent for path in sorted(root.glob("*/config.json"))}

"""The one public object: tokenizer + model + sessions + lens. In: a path or a name. Out: text, logits, traces.

lm = cutaway.load("stories")
lm.generate("Once upon a time", max_tokens=50)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .config import ModelConfig
from .decode import Decoder, Engine, Event, Figures, Sampling, Session, Way, natural, opened, run, written
from .errors import CutawayError
from .finding import base_of, find
from .lens import observe
from .lens.observe import Change
from .lens.of_model import ModelLens
from .lens.places import Places
from .lens.reading import Prompt, Reader, Reading, check_rows, rows_of_ids
from .lens.sites import Site
from .lens.trace import Trace
from .model import Call, Transformer, layouts
from .model.masks import masks_of
from .runtime import machine
from .runtime.attend import fused
from .runtime.cache import Cache
from .runtime.gpu import move, type_of
from .runtime.kernels import accelerate
from .runtime.machine import find_device
from .runtime.quantise import FULL, Rounding, check_bits
from .text import Tokenizer
from .text.chat import ChatTemplate
from .train.conversion import reading_masks
from .weights.adapter_settings import is_adapter
from .weights.adapters import load_adapter
from .weights.gguf import Opened
from .weights.opening import is_half, open_model, read_template


@dataclass(frozen=True, slots=True)
class Piece:
    """One step of a stream: the event, and the text that it made certain (often "", at a partial character or stop).

    event: None for the last piece of a text of which a part was held back, at the end.
    """

    event: Event | None
    text: str


class LM:
    """A language model with its tokenizer. Make one with `load`."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer | None, name: str, place: Path | None = None) -> None:
        """place: the directory or file that it came from."""
        self.model, self.name, self.place = model, name, place
        self._tokenizer = tokenizer
        self.figures = Figures()
        """Passes, tokens and seconds of the last `generate` or `stream`."""
        self.cache = Cache()
        """How sessions keep what they read: `lm.cache = Cache(bits=8)`. Passes with edits keep all of it, as it is."""

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.model.config

    @property
    def tokenizer(self) -> Tokenizer:
        """Text <-> ids. Raises CutawayError for a model that came without one."""
        return self._reader.words

    @property
    def own_tokenizer(self) -> Tokenizer | None:
        """The tokenizer, or None for a model that came without one."""
        return self._tokenizer

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """How a conversation is written for this model, or None where it came without a template."""
        return None if self.place is None else read_template(self.place)

    def generate(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        edits: Sequence[Change] = (),
        way: Way | None = None,
    ) -> str:
        """Continue a prompt; the prompt itself is not repeated. An encoder-decoder answers to it: it is the source.

        prompt: text or ids. A diffusion model fills its mask tokens too, and what comes back begins with the first of them.
        max_tokens: how many are chosen at most. sampling: how (greedy if None). stop: strings that end the text and are left out.
        edits: what is changed in every pass: see `lens.edits`. way: by which decoder; None: the model's own.
        Raises CutawayError for what the model or the settings do not allow.
        """
        pieces = self.stream(prompt, max_tokens=max_tokens, sampling=sampling, stop=stop, edits=edits, way=way)
        return "".join(piece.text for piece in pieces)

    def stream(
        self,
        prompt: str | Sequence[int],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        request: int = 0,
        session: Session | None = None,
        end_ids: Collection[int] | None = None,
        edits: Sequence[Change] = (),
        way: Way | None = None,
    ) -> Iterator[Piece]:
        """As `generate`, but every event as it happens, with the text that it made certain.

        request: the prompt's number in its batch; equal numbers, seeds and prompts give equal texts. session: what the prompt
        follows, and what then holds all of it (None: a new one). end_ids: each of them ends the text; None: the model's own end
        id. A model without a tokenizer gives events whose texts are empty.
        """
        self.figures, way = Figures(), way or Way()
        text = written(self._tokenizer, self.config, self.ids(prompt), stop, end_ids, way)
        decoder = self._decoder(prompt, max_tokens, sampling, request, session, end_ids, edits, way)
        for event in run(decoder, self.figures):
            certain, is_stopped = text.push(event)
            yield Piece(event, certain)
            if is_stopped:
                return
        if rest := text.finish():
            yield Piece(None, rest)

    def generate_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        edits: Sequence[Change] = (),
        way: Way | None = None,
    ) -> list[str]:
        """Continue many prompts in shared passes. Each gets the text that `stream` gives it with its index as `request`."""
        found = ["" for _ in prompts]
        pieces = self.stream_batch(prompts, max_tokens=max_tokens, sampling=sampling, stop=stop, edits=edits, way=way)
        for index, piece in pieces:
            found[index] += piece.text
        return found

    def stream_batch(
        self,
        prompts: Sequence[str | Sequence[int]],
        *,
        max_tokens: int = 100,
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
        edits: Sequence[Change] = (),
        way: Way | None = None,
    ) -> Iterator[tuple[int, Piece]]:
        """As `generate_batch`, but every event as it happens: (index of the prompt, piece). With edits, passes are not shared."""
        engine: Engine[int] = Engine()
        way = way or Way()
        ids = [self.ids(prompt) for prompt in prompts]
        texts = [written(self._tokenizer, self.config, each, stop, None, way) for each in ids]
        for each in filter(None, [] if self.config.has_cross else ids):  # what does not fit is said before others run
            self._rows(each)
        self.cache.check(self.model, sorted(map(len, ids))[-engine.max_active :], max_tokens)
        decoders = [
            self._decoder(each, max_tokens, sampling, i, edits=edits, way=way, is_alone=False)
            for i, each in enumerate(prompts)
        ]
        for index, event in engine.run(decoders):
            certain, is_stopped = texts[index].push(event)
            yield index, Piece(event, certain)
            if is_stopped:
                engine.cancel(index)
        for index, text in enumerate(texts):
            if rest := text.finish():
                yield index, Piece(None, rest)

    def ids(self, prompt: str | Sequence[int]) -> list[int]:
        """The ids of a prompt: encoded text behind what its tokenizer begins every text with (bos, say), or the ids themselves.

        For an encoder what ends every text is there too; for models of hidden tokens, the mask token's spelling is a hole.
        """
        return self._reader.encode(prompt) if isinstance(prompt, str) else list(prompt)

    @torch.inference_mode()
    def logits(self, ids: Tensor | Sequence[int]) -> Tensor:
        """One pass, in which each token sees what it was trained to see.

        ids: [batch, position] or [position] -> logits [batch, position, vocab].
        """
        rows = self._rows(ids)
        tokens = layouts.text(self.config, rows.shape[1], device=rows.device)
        return self.model(rows, Call(tokens, attend=fused))

    def sites(self, prompt: Prompt, target: Prompt | None = None) -> list[Site]:
        """Every site of a pass over the prompt, with shape, type and bytes, before anything runs. Arguments: as of `trace`.

        Of an encoder-decoder whose target is left out, what it says by itself is written first: the shapes follow from it.
        """
        return observe.sites_of(self.model, self._read(prompt, target))

    def trace(
        self,
        prompt: Prompt,
        sites: str | Sequence[str] = "*",
        *,
        target: Prompt | None = None,
        positions: Places = None,
        edits: Sequence[Change] = (),
        max_bytes: int = observe.MOST_BYTES,
    ) -> Trace:
        """Run a prompt once and keep the tensors of the named sites: `trace["layers.0.attention.weights"]`.

        prompt: a text, several texts (filled up at the right where lengths differ), ids [position] or ids [batch, position].
        sites: names with `*`. target: what an encoder-decoder says to the prompt (None: what it says by itself). positions: of
        which tokens (3, [0, 3], "2:5"). edits: changes on the way: see `lens.edits`. max_bytes: the most to keep.
        Raises CutawayError for a site, an edit or a place that does not exist, and for more than max_bytes.
        """
        reading = self._read(prompt, target)
        return observe.trace(self.model, reading, sites, positions=positions, edits=edits, max_bytes=max_bytes)

    def trace_steps(
        self,
        prompt: Prompt,
        sites: str | Sequence[str] = "*",
        *,
        max_tokens: int = 20,
        sampling: Sampling | None = None,
        edits: Sequence[Change] = (),
        max_bytes: int = observe.MOST_BYTES,
    ) -> Trace:
        """Generate, and keep what each pass holds for its last token: [step, batch, …]. See `observe.trace_steps`."""
        self._check_continues()
        Way(decoder="autoregressive").decoder_for(self.config)
        reading = self._reader.opening(prompt)
        return observe.trace_steps(
            self.model,
            reading,
            sites,
            max_tokens=max_tokens,
            sampling=sampling or Sampling(temperature=0),
            edits=edits,
            max_bytes=max_bytes,
            texts=None if self._tokenizer is None else self._tokenizer.token_text,
        )

    @property
    def lens(self) -> ModelLens:
        """Experiments on prompts: contributions, rollout, patching, ablation, induction, embeddings. See `lens.of_model`."""
        return ModelLens(self._reader)

    @property
    def _reader(self) -> Reader:
        return Reader(self.model, self._tokenizer, self.name)

    def _read(self, prompt: Prompt, target: Prompt | None = None) -> Reading:
        return self._reader.read(prompt, target)

    def _decoder(
        self,
        prompt: str | Sequence[int],
        max_tokens: int,
        sampling: Sampling | None,
        request: int,
        session: Session | None = None,
        end_ids: Collection[int] | None = None,
        edits: Sequence[Change] = (),
        way: Way | None = None,
        is_alone: bool = True,
    ) -> Decoder:
        self._check_continues()
        way, how, source = way or Way(), sampling or Sampling(temperature=0), None
        name, ids = way.decoder_for(self.config), self.ids(prompt)
        if edits:
            if name == "diffusion" or way.decoder not in (None, "autoregressive"):
                raise CutawayError(
                    f"The {name} decoder runs without edits. Leave them out, or decode autoregressively."
                )
            if session is not None:
                raise CutawayError(
                    "A session that goes on has been run without the edits. Give the whole prompt instead."
                )
            reading = self._reader.opening(ids)
            return observe.stepping(
                self.model, reading, edits, max_tokens=max_tokens, sampling=how, eos_ids=end_ids, request=request
            )
        if session is None:
            self.cache.check(self.model, [len(ids)], max_tokens)
        if session is None or self.config.has_cross:
            session, ids, source = opened(self.model, ids, self.cache, num_new=max_tokens if is_alone else None)
        options: dict[str, Any] = {"max_tokens": max_tokens, "eos_ids": end_ids, "request": request}
        return natural(session, ids, how, way=way, source_ids=source, **options)

    def _check_continues(self) -> None:
        """Raises CutawayError for a model that continues no text."""
        if self.config.decoder is None:
            raise CutawayError(
                f"'{self.name}' has an encoder only: it reads whole texts and continues none. Use `embed`."
            )

    def _rows(self, ids: Tensor | Sequence[int]) -> Tensor:
        """Ids that one causal pass can read: [batch, position]."""
        if self.config.has_cross:
            raise CutawayError(
                f"'{self.name}' reads a source first: it has an encoder. Open a Session with source_ids."
            )
        rows = rows_of_ids(ids).to(self.model.token.weight.device)
        check_rows(self.config, rows.tolist())
        return rows


def load(
    name: str | Path,
    *,
    dtype: torch.dtype | None = None,
    adapter: str | Path | None = None,
    bits: int | None = None,
    device: str = "cpu",
) -> LM:
    """Open a model: a checkpoint directory, a run directory (its newest checkpoint), a .gguf file, or a bundled model by name.

    A hub id (`owner/name`, where no such folder is here) is fetched into huggingface_hub's cache; nothing else reaches the
    network. dtype: in which the weights are kept, whatever the file has; None: fp32. adapter: a directory with low-rank adapters,
    ours or PEFT's; they stand beside the weights (`merge` and `detach` of `model.adapter` fold them in or take them off). bits:
    16, 8 or 4 keep the matrices smaller (see `runtime.quantise`); None: 32. device: cpu, cuda, or auto, a GPU where torch sees
    one. There, bits say what dtype does: 32 is fp32, 16 bf16; with neither, it is bf16 where the file holds 16 bits, else fp32.
    Raises CutawayError for anything else, for what is damaged, and where a GPU lacks the memory.
    """
    where = find_device(device)
    if bits is not None and not machine.is_gpu(where):
        check_bits(bits)
    place = find(str(name))
    if adapter is None and is_adapter(place):
        beside = load(base_of(place), dtype=dtype, adapter=place, bits=bits, device=device)
        return LM(beside.model, beside.own_tokenizer, str(name), beside.place)
    opened = _opened_for(where, place, dtype, bits)
    model, tokenizer = opened.model, opened.tokenizer
    if adapter is not None:
        load_adapter(Path(adapter).expanduser(), model)
        masks = masks_of(model)
        tokenizer = tokenizer if tokenizer is None or masks is None else reading_masks(tokenizer, masks.mask_id)
    if tokenizer is not None and tokenizer.vocab_size > model.config.vocab_size:
        raise CutawayError(
            f"{place}: the tokenizer has {tokenizer.vocab_size:,} ids and the model {model.config.vocab_size:,}. They do "
            "not belong together: copy both from one checkpoint."
        )
    if machine.is_gpu(where):
        move(model, where)
    return LM(model, tokenizer, str(name), place)


def _opened_for(device: torch.device, place: Path, dtype: torch.dtype | None, bits: int | None) -> Opened:
    """The model, still on the processor, in the type in which the device runs it, and with the kernels that a processor has."""
    if machine.is_gpu(device):
        kind = type_of(bits, is_half=bits is None and is_half(place))
        return open_model(place, dtype or kind)
    rounding = None if bits is None or bits == FULL else lambda model: Rounding(model, bits).take
    opened = open_model(place, dtype or torch.float32, rounding)
    accelerate(opened.model)
    return opened

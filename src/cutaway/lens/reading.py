"""What a pass reads. In: a prompt: a text, several, or ids. Out: rows of ids, and who sees whom in them.

Texts of different lengths stand in one batch, filled up at the right with padding that no text sees. An encoder-decoder reads a
source, and a target that its decoder says: the one that is given, or what it says by itself (greedily).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..config import ModelConfig
from ..decode import Sampling, Session, autoregressive, run
from ..decode.autoregressive import first_id
from ..errors import CutawayError
from ..model import Transformer
from ..model.visibility import Tokens, causal, full, padded
from ..text import Tokenizer

Prompt = str | Sequence[str] | Sequence[int] | Tensor
MOST_SAID = 128


@dataclass(frozen=True, kw_only=True)
class Reading:
    """Rows of ids. ids: [batch, position]; lengths: tokens of each row; texts: of each token, empty without a tokenizer.

    source: what the encoder reads, where a decoder looks at one.
    """

    ids: Tensor
    tokens: Tokens
    lengths: tuple[int, ...]
    texts: tuple[tuple[str, ...], ...]
    source: Reading | None = None

    @property
    def length(self) -> int:
        """Positions in a row, padding included."""
        return self.ids.shape[1]

    @property
    def num_source(self) -> int:
        """Positions in a row of the source; 0 without one."""
        return 0 if self.source is None else self.source.length


class Reader:
    """Makes readings for a model. name: for messages."""

    def __init__(self, model: Transformer, tokenizer: Tokenizer | None, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name

    @property
    def config(self) -> ModelConfig:
        """The architecture."""
        return self.model.config

    def read(self, prompt: Prompt, target: Prompt | None = None) -> Reading:
        """What the model reads. target: what the decoder of an encoder-decoder says; None: what it says by itself.

        Raises CutawayError for nothing to read, too much, ids outside the vocabulary, and a target where there is no source.
        """
        if not self.config.has_cross:
            if target is not None:
                raise CutawayError(
                    f"'{self.name}' has one stack, and says no target. Leave it out, or add it to the text."
                )
            return self._rows(self._ids(prompt, is_source=True), sees_ahead=self.config.sees_ahead)
        source = self._rows(self._ids(prompt, is_source=True), sees_ahead=True)
        said = self._said(source) if target is None else self._ids(target, is_source=False)
        begin = first_id(self.config)
        rows = self._rows([[begin, *row] for row in said], sees_ahead=False)
        if len(rows.ids) != len(source.ids):
            raise CutawayError(f"There are {len(source.ids)} sources and {len(rows.ids)} targets. Give one for each.")
        return replace(rows, source=source)

    def opening(self, prompt: Prompt) -> Reading:
        """What a generation begins with: the prompt, or the id that begins a text; an encoder-decoder's prompt is its source."""
        rows = self._ids(prompt, is_source=True)
        if not self.config.has_cross:
            return self._rows([row or [first_id(self.config)] for row in rows], sees_ahead=False)
        begin = [first_id(self.config)]
        return replace(self._rows([begin for _ in rows], sees_ahead=False), source=self._rows(rows, sees_ahead=True))

    def encode(self, text: str) -> list[int]:
        """The ids of a text, behind what the tokenizer begins every text with; an encoder reads its end, too.

        For models of hidden tokens, the mask token's spelling in a text is the mask token.
        """
        before, after = self.words.frame
        return [*before, *self._with_holes(text), *(() if self.config.encoder is None else after)]

    def _with_holes(self, text: str) -> list[int]:
        mask = self.config.tokens.mask
        if mask is None or not self.config.says_masked:
            return self.words.encode(text)
        first, *rest = text.split(self.words.spelling(mask))
        ids = self.words.encode(first)
        for part in rest:
            ids += [mask, *self.words.encode(part)]
        return ids

    @property
    def words(self) -> Tokenizer:
        """The tokenizer. Raises CutawayError for a model that came without one."""
        if self.tokenizer is None:
            raise CutawayError(
                f"'{self.name}' has no tokenizer, so it reads and writes ids only. Put a tokenizer.json, or the vocabulary "
                "that it was made with, beside it."
            )
        return self.tokenizer

    def _ids(self, prompt: Prompt, *, is_source: bool) -> list[list[int]]:
        encode = self.encode if is_source else self.words.encode
        if isinstance(prompt, str):
            return [encode(prompt)]
        if not isinstance(prompt, Tensor) and len(prompt) and all(isinstance(each, str) for each in prompt):
            return [encode(str(each)) for each in prompt]
        if not isinstance(prompt, Tensor) and not len(prompt):
            return [[]]
        return rows_of_ids(prompt).tolist()  # type: ignore[arg-type]

    def _rows(self, rows: Sequence[Sequence[int]], *, sees_ahead: bool) -> Reading:
        lengths, device = tuple(map(len, rows)), self.model.token.weight.device
        check_rows(self.config, rows)
        width = max(lengths)
        filled = [[*row, *[row[0]] * (width - len(row))] for row in rows]
        if min(lengths) == width:
            tokens = full(width, device=device) if sees_ahead else causal(width, device=device)
        else:
            tokens = padded(lengths, width, is_causal=not sees_ahead).to(device)
        texts = () if self.tokenizer is None else tuple(tuple(map(self.tokenizer.token_text, row)) for row in rows)
        return Reading(ids=torch.tensor(filled, device=device), tokens=tokens, lengths=lengths, texts=texts)

    def _said(self, source: Reading) -> list[list[int]]:
        """What the model says to each source, without its end."""
        greedy, ends = Sampling(temperature=0), {self.config.tokens.eos}
        found = []
        for row, length in zip(source.ids.tolist(), source.lengths, strict=True):
            session = Session(self.model, source_ids=row[:length])
            most = min(MOST_SAID, (session.room or MOST_SAID + 1) - 1)
            events = run(autoregressive(session, [], greedy, max_tokens=most))
            found.append([event.new for event in events if event.new is not None and event.new not in ends])
        return found


def rows_of_ids(ids: Tensor | Sequence[int] | Sequence[Sequence[int]]) -> Tensor:
    """Ids as [batch, position]. Raises CutawayError for ragged rows, no id, and more axes."""
    try:
        rows = torch.as_tensor(ids)
    except (TypeError, ValueError, RuntimeError) as error:
        raise CutawayError(f"These are no rows of ids of equal length ({error}). Give [batch, position].") from None
    rows = rows.unsqueeze(0) if rows.ndim == 1 else rows
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise CutawayError(f"Ids have the shape {tuple(rows.shape)}. Give at least one id: [batch, position].")
    return rows


def check_rows(config: ModelConfig, rows: Sequence[Sequence[int]]) -> None:
    """Raises CutawayError for an empty row, ids outside the vocabulary, and more tokens than the model has places for."""
    if not rows or not all(rows):
        raise CutawayError("Nothing to look at yet: the text holds no token. Give at least one.")
    if max(map(max, rows)) >= config.vocab_size or min(map(min, rows)) < 0:
        raise CutawayError(f"An id is outside the vocabulary: ids run from 0 to {config.vocab_size - 1}.")
    longest = max(map(len, rows))
    if config.main.position.is_table and longest > config.context:
        raise CutawayError(f"{longest} tokens are more than this model reads, {config.context}. Shorten them.")

"""What the experiments share. In: a model, words, switches. Out: ids, one pass, what it gave at some sites; or a refusal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor

from ..errors import CutawayError
from ..lens.edits import Edit, make_edits
from ..lens.numerals import count, number
from ..lens.sites import sites
from ..lens.words import Words
from ..lm import LM
from ..model import Call
from ..model.visibility import causal
from .figures import Bar, Bars, Role, Strip

SPREAD = 2.6  # deviations that a strip's strongest cell stands for


def run(lm: LM, ids: Sequence[int], edits: Sequence[Edit] = ()) -> Tensor:
    """What the last stack makes of ids, each seeing what came before: [position, d_model]. edits: see `lens.edits`."""
    watch = make_edits(edits, sites(lm.config, 1, len(ids)), num_tokens=len(ids)) if edits else None
    return lm.model.states(torch.tensor([list(ids)]), Call(causal(len(ids)), watch=watch))[0]


def logits(lm: LM, states: Tensor) -> Tensor:
    """states: [position, d_model] -> [position, vocab]."""
    return lm.model.logits(states.unsqueeze(0), Call(causal(len(states))))[0]


def need_words(lm: LM) -> None:
    """Raises CutawayError for a model without a tokenizer."""
    _ = lm.tokenizer


def need_decoder(lm: LM) -> None:
    """Raises CutawayError for a model that does not continue texts from one stack."""
    if lm.config.has_cross or lm.model.head is None or not lm.config.says_next:
        raise CutawayError(
            f"This lesson is about models that continue a text, and '{lm.name}' is none. Take --model stories."
        )


def need_writer(lm: LM) -> None:
    """Raises CutawayError for a model that does not continue texts from one stack, or has no tokenizer to write them with."""
    need_decoder(lm)
    need_words(lm)


def need_one_stack(lm: LM) -> None:
    """Raises CutawayError for a model with an encoder and a decoder, or without a tokenizer."""
    if lm.config.has_cross:
        raise CutawayError(
            f"This lesson is about one stack, and '{lm.name}' has an encoder and a decoder. Take --model stories."
        )
    need_words(lm)


def need_table(lm: LM) -> None:
    """Raises CutawayError for a model that adds no vector for the position."""
    if not lm.config.main.position.is_table:
        raise CutawayError(
            f"'{lm.name}' adds no vector for the position, so there is none to look at. Take --model stories."
        )


def words_of(lm: LM) -> Words:
    """The texts of the model's ids."""
    return Words(lm.tokenizer, lm.config.vocab_size)


def one_token(lm: LM, word: str) -> int:
    """The id of a word with a space before it. Raises CutawayError where it is not one token, or none at all."""
    word = word.strip()
    ids = lm.tokenizer.encode(" " + word)
    if len(ids) != 1:
        cut = " ".join(lm.tokenizer.token_text(i) for i in ids)
        raise CutawayError(
            f"“{word:.40}” is {len(ids)} tokens to this model ({cut:.60}), and this lesson needs words that are one. "
            "Choose a more common word, or take --model stories."
        )
    if lm.tokenizer.decode(ids).strip().casefold() != word.casefold():
        raise CutawayError(f"This model has no token for “{word:.40}”. Choose another word, or take --model stories.")
    return ids[0]


def some_tokens(lm: LM, text: str, least: int = 1, most: int = 64) -> list[int]:
    """The ids of a text, behind what begins every text. Raises CutawayError outside `least` to `most` tokens."""
    ids = lm.ids(text)
    most = min(most, lm.config.context)
    if not least <= len(ids) <= most:
        raise CutawayError(
            f"The text is {count(len(ids), 'token')}. This lesson takes {least} to {most}: give a text of that size."
        )
    return ids


def strip(label: str, vector: Tensor, role: Role = "computed", note: str = "") -> Strip:
    """A vector as a strip. vector: [d_model]."""
    return Strip(label=label, values=tuple(vector.double().tolist()), role=role, note=note)


def cosine_bars(title: str, caption: str, cosines: Iterable[tuple[str, float]]) -> Bars:
    """Cosines between rows of the token table, a bar each."""
    rows = (Bar(label=label, value=cosine, text=number(cosine), role="learned") for label, cosine in cosines)
    return Bars(title=title, caption=caption, source="embedding.token", rows=tuple(rows), scale=1.0)


def spread(*vectors: Tensor) -> float:
    """The scale of strips that are drawn together: SPREAD times the deviation of all their numbers."""
    return SPREAD * float(torch.cat([vector.flatten().double() for vector in vectors]).std()) or 1.0

"""The lens over one model, for texts. In: prompts and words. Out: results that draw themselves (`result`).

    lm.lens.contributions("The cat sat on the", token=" mat").save("why.svg")

Prompts are texts or ids, one at a time; an encoder-decoder's is its source, and `target` what its decoder says (None: what it
says by itself). A token is a text of one token, behind a space where none is given and most words have one, or an id.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..model import Transformer
from . import ablation as ablations
from . import contributions as attributions
from . import embeddings, gradients, logit_lens, parts, patching
from . import induction as inductions
from . import rollout as rollouts
from .ablation import Ablation, How
from .contributions import Contributions
from .embeddings import Analogy, Map, Neighbourhood, PositionSimilarity, Token, word_ids
from .gradients import GradientInput
from .induction import Induction
from .logit_lens import LogitLens
from .observe import trace
from .passes import Progress, check_place, likeliest
from .patching import Patched, Patching
from .reading import Prompt, Reader, Reading
from .rollout import HeadWeights, Rollout
from .words import Bare, Names, Words


class ModelLens:
    """Experiments on a model. Errors of prompts and places: as `LM.trace` raises them."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    @property
    def model(self) -> Transformer:
        """The model looked into."""
        return self.reader.model

    @property
    def words(self) -> Names:
        """Ids as words; of a model without a tokenizer, as ids."""
        size, tokenizer = self.model.config.vocab_size, self.reader.tokenizer
        return Bare(size) if tokenizer is None else Words(tokenizer, size)

    def contributions(
        self,
        prompt: Prompt,
        token: Token | None = None,
        against: Token | None = None,
        *,
        position: int | None = None,
        target: Prompt | None = None,
    ) -> Contributions:
        """What every part of the model adds to the logit of a token (None: the likeliest). See `contributions`.

        against: another token, whose parts are subtracted. position: whose next token it is, the last if None.
        """
        reading, position = self._place(prompt, target, position)
        token_id, other = self._tokens(reading, position, token, against)
        seen = trace(self.model, reading, attributions.contribution_sites(self.model))
        return attributions.contributions(self.model, seen, position, token_id, other, texts=self._text)

    def rollout(
        self,
        prompt: Prompt,
        *,
        position: int | None = None,
        column: int | None = None,
        heads: HeadWeights = "written",
        threshold: float | None = None,
        target: Prompt | None = None,
        of_encoder: bool = False,
    ) -> Rollout:
        """Which tokens a vector came from, by attention rollout. of_encoder: a vector of the source's. See `rollout`."""
        parts.check_encoder(self.model, of_encoder=of_encoder)
        reading = self.reader.read(prompt, target)
        position = check_place(reading.source if of_encoder and reading.source is not None else reading, position)
        seen = trace(self.model, reading, rollouts.rollout_sites(self.model, of_encoder=of_encoder))
        return rollouts.rollout(
            self.model, seen, position, column, heads=heads, threshold=threshold, of_encoder=of_encoder
        )

    def logit_lens(
        self, prompt: Prompt, *, count: int = 1, has_middle: bool = False, target: Prompt | None = None
    ) -> LogitLens:
        """What the stream would say at every depth and place. count: guesses of each cell. See `logit_lens`."""
        reading, _ = self._place(prompt, target, None)
        seen = trace(self.model, reading, logit_lens.lens_sites(self.model, has_middle=has_middle))
        return logit_lens.logit_lens(self.model, seen, self.words, count=count, has_middle=has_middle)

    def gradient_input(
        self,
        prompt: Prompt,
        token: Token | None = None,
        against: Token | None = None,
        *,
        position: int | None = None,
        target: Prompt | None = None,
    ) -> GradientInput:
        """Gradient × input of the logit of a token (None: the likeliest), for each token read. See `gradients`."""
        reading, position = self._place(prompt, target, position)
        token_id, other = self._tokens(reading, position, token, against)
        return gradients.gradient_input(self.model, reading, token_id, other, position=position, texts=self._text)

    def patch(
        self,
        first: Prompt,
        second: Prompt,
        *,
        what: Patched = "residual",
        right: Token | None = None,
        wrong: Token | None = None,
        position: int | None = None,
        targets: tuple[Prompt, Prompt] | None = None,
        of_encoder: bool = False,
        progress: Progress | None = None,
    ) -> Patching:
        """Patch from the first prompt into the second. targets: of both, for an encoder-decoder. See `patching`."""
        one, other = targets or (None, None)
        return patching.patching(
            self.model,
            self.reader.read(first, one),
            self.reader.read(second, other),
            what=what,
            right=self._id(right),
            wrong=self._id(wrong),
            position=position,
            of_encoder=of_encoder,
            texts=self._text,
            progress=progress,
        )

    def ablate(
        self,
        prompt: Prompt,
        token: Token | None = None,
        against: Token | None = None,
        *,
        position: int | None = None,
        how: How = "zero",
        reference: Sequence[Prompt] = (),
        target: Prompt | None = None,
        of_encoder: bool = False,
        progress: Progress | None = None,
    ) -> Ablation:
        """Each part off in turn, and what that does to the logit of a token, or, without one, to the loss. See `ablation`."""
        return ablations.ablation(
            self.model,
            self.reader.read(prompt, target),
            self._id(token),
            self._id(against),
            position=position,
            how=how,
            reference=[self.reader.read(each, target) for each in reference],
            of_encoder=of_encoder,
            texts=self._text,
            progress=progress,
        )

    def induction(
        self,
        *,
        length: int = 32,
        num_sequences: int = 8,
        seed: int = 0,
        tokens: Sequence[Token] | None = None,
        off: Sequence[tuple[int, int]] = (),
        progress: Progress | None = None,
    ) -> Induction:
        """The repeat test of induction heads. See `induction`.

        tokens: which to draw from, all words if None. off: (layer, head) of heads that are switched off.
        """
        allowed = self.words.are_words().nonzero()[:, 0].tolist() if tokens is None else self._ids(tokens)
        return inductions.induction(
            self.model,
            length=length,
            num_sequences=num_sequences,
            seed=seed,
            allowed=allowed,
            beginning=() if self.reader.tokenizer is None else self.reader.words.frame[0],
            off=off,
            progress=progress,
        )

    def neighbours(self, *texts: Token, count: int = 8) -> tuple[Neighbourhood, ...]:
        """The nearest words of each of these in the token table. See `embeddings`."""
        return embeddings.neighbours_of(self.model, self.words, self._ids(texts), count)

    def analogy(self, a: Token, b: Token, c: Token, *, count: int = 8) -> Analogy:
        """The words nearest to a − b + c in the token table."""
        one, other, third = self._ids((a, b, c))
        return embeddings.analogy(self.model, self.words, one, other, third, count)

    def map(self, texts: Sequence[Token]) -> Map:
        """Words in the plane of their two widest directions."""
        return embeddings.map_of(self.model, self.words, self._ids(texts))

    def positions(self, count: int = 64, *, of_encoder: bool = False) -> PositionSimilarity:
        """The cosine between every two of the first positions, or of as many as there are."""
        return embeddings.position_similarity(self.model, min(count, self.model.config.context), of_encoder=of_encoder)

    def _place(self, prompt: Prompt, target: Prompt | None, position: int | None) -> tuple[Reading, int]:
        reading = self.reader.read(prompt, target)
        return reading, check_place(reading, position)

    def _tokens(
        self, reading: Reading, position: int, token: Token | None, against: Token | None
    ) -> tuple[int, int | None]:
        """The id of a token, the likeliest if None, and that of another."""
        token_id = self._id(token)
        if token_id is None:
            token_id = likeliest(self.model, reading, position)
        return token_id, self._id(against)

    def _id(self, token: Token | None) -> int | None:
        return None if token is None else self._ids([token])[0]

    def _ids(self, tokens: Sequence[Token]) -> tuple[int, ...]:
        """The ids of tokens. Raises CutawayError for a text where there is no tokenizer, naming what would bring one."""
        if any(isinstance(token, str) for token in tokens):
            _ = self.reader.words
        return word_ids(self.words, tokens)

    def _text(self, token_id: int) -> str:
        return self.words.text(token_id)

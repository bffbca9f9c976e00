"""Text <-> ids. In: text, or ids. Out: ids, text, the exact bytes of an id, and the roles of the special ids.

One `Tokenizer` wraps one tokenizer of the Hugging Face `tokenizers` library, trained here or loaded from a file. Text is
only text: the spelling of a special token inside it gives ordinary tokens unless the caller asks for it, and nothing is
added before or after (a session adds what a model wants, by role).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from hashlib import sha256
from itertools import chain, islice
from pathlib import Path
from typing import Final

from tokenizers import Encoding
from tokenizers import Tokenizer as Library

from ..errors import CutawayError
from .alphabet import spelled, unspelled
from .files import read_tokenizer, write_tokenizer
from .frame import PairFrame, read_pair_frame, set_frame
from .kinds import has_byte_fallback, is_byte_level, kind_of, may_be_parted, parts
from .masking import add_mask
from .merges import Pair, read_ranks
from .refusals import check_text, is_of_library, unknown_piece
from .special import SpecialRoles
from .unwritable import without_spellings
from .visible import visible

_BATCH_LENGTH: Final = 2**20


class Tokenizer:
    """Text to ids and back. It does not change after it was made; equal tokenizers have equal JSON and equal roles.

    roles: which ids play which role. kind: "character", "word", "byte", "bpe", or the library's name of another model
    ("Unigram", "WordPiece" …). vocab_size: the number of ids, special and spare ones included. is_byte_level: whether a
    token may be part of a UTF-8 character, its bytes being exactly what it stands for wherever it is.
    """

    def __init__(self, library: Library, roles: SpecialRoles | None = None) -> None:
        """library: taken over, not to be used elsewhere. roles: None says that no id plays one."""
        library.no_truncation()
        library.no_padding()
        self._json = library.to_str()
        self._library = _text_only(library)
        self.roles = roles or SpecialRoles()
        self.kind = kind_of(library)
        self.vocab_size = max(library.get_vocab().values()) + 1
        self.is_byte_level = is_byte_level(library)
        self._may_be_parted = may_be_parted(library)

    @classmethod
    def from_json(cls, tokenizer_json: str, roles: SpecialRoles | None = None) -> Tokenizer:
        """The tokenizer that `to_json` wrote."""
        return cls(Library.from_str(tokenizer_json), roles)

    @classmethod
    def load(cls, path: str | Path) -> Tokenizer:
        """Read the tokenizer of a checkpoint directory, or one of its files. Raises CutawayError where that fails.

        A `tokenizer.json` comes first; then `vocab.json` with `merges.txt`, SentencePiece's `.model`, ranks of tiktoken, a
        `vocab.txt` of WordPiece. What was opened from any of them is saved as a `tokenizer.json`.
        """
        return cls(*read_tokenizer(Path(path)))

    def save(self, directory: str | Path) -> None:
        """Write `tokenizer.json` and `tokenizer_config.json`, as Hugging Face's AutoTokenizer reads them."""
        write_tokenizer(Path(directory), self._json, self._config())

    def framed(self, begin: str | None, end: str | None) -> Tokenizer:
        """The same tokenizer, whose file puts these special tokens around every text: see `frame`."""
        library = Library.from_str(self._json)
        set_frame(library, begin, end)
        return Tokenizer(library, self.roles)

    def with_mask(self, mask_id: int | None = None) -> Tokenizer:
        """The same tokenizer with a token to hide others with, all other ids unchanged; itself if it has one.

        mask_id: of a token that is there and plays the part; None: a spare one, or a special token is added, at a free id.
        """
        if self.roles.mask is not None:
            return self
        mask_id = next(iter(self.roles.spares), None) if mask_id is None else mask_id
        if mask_id is not None:
            self.spelling(mask_id)
            spares = tuple(spare for spare in self.roles.spares if spare != mask_id)
            return Tokenizer(Library.from_str(self._json), replace(self.roles, mask=mask_id, spares=spares))
        library, mask_id = add_mask(Library.from_str(self._json))
        return Tokenizer(library, replace(self.roles, mask=mask_id))

    def to_json(self) -> str:
        """The whole tokenizer as the text of a `tokenizer.json`; the roles are not in it."""
        return self._json

    def encode(self, text: str, specials: bool = False) -> list[int]:
        """The ids of `text`. specials: whether the spelling of a special token becomes that token.

        Raises CutawayError for text with a lone surrogate, and for a character or word that has no token.
        """
        return self.encode_batch([text], specials)[0]

    def encode_batch(self, texts: Sequence[str], specials: bool = False) -> list[list[int]]:
        """The ids of every text, encoded on all cores. Arguments and errors as in `encode`."""
        if isinstance(texts, str):
            raise CutawayError("encode_batch takes a list of texts, got one text (str). Use encode, or give [text].")
        for text in texts:
            check_text(text)
        parted = [list(parts(text)) if self._may_be_parted and not specials else [text] for text in texts]
        try:
            ids = iter(self._encode(list(chain.from_iterable(parted)), specials))
        except BaseException as error:
            if not is_of_library(error):
                raise
            raise self._refusal(texts, error) from error
        return [list(chain.from_iterable(islice(ids, len(text_parts)))) for text_parts in parted]

    def encode_begun(self, texts: Sequence[str]) -> list[list[int]]:
        """As `encode_batch`, each behind what this tokenizer begins every text with (see `frame`): documents to learn from."""
        before, _ = self.frame
        return [[*before, *ids] for ids in self.encode_batch(texts)]

    def encoding(self, text: str, specials: bool = False) -> Encoding:
        """The library's record of one encoding: ids, spellings, character offsets, and which piece each token is of."""
        check_text(text)
        library = self._marked_library if specials else self._library
        try:
            found = library.encode(text, add_special_tokens=False)
            spells_control = not specials and not self._control_ids.isdisjoint(found.ids)
            return self._unwritable_library.encode(text, add_special_tokens=False) if spells_control else found
        except BaseException as error:
            if not is_of_library(error):
                raise
            raise self._refusal([text], error) from error

    def decode(self, ids: Sequence[int], skip_special: bool = False) -> str:
        """The text of `ids`. Bytes that are no UTF-8 become U+FFFD. skip_special: leave special tokens out.

        Raises CutawayError for an id that has no token.
        """
        for token_id in sorted(set(ids)):
            self.spelling(token_id)
        try:
            return self._library.decode(list(ids), skip_special_tokens=skip_special)
        except BaseException as error:
            if not is_of_library(error):
                raise
            raise CutawayError(f"The tokenizer ({self.kind}) cannot decode these ids: {error}.") from error

    def has_id(self, token_id: int) -> bool:
        """Whether a token has the id."""
        return 0 <= token_id < self.vocab_size and self._library.id_to_token(token_id) is not None

    def spelling(self, token_id: int) -> str:
        """The token as the file spells it ("Ġcat"). Raises CutawayError for an id that has no token."""
        found = self._library.id_to_token(token_id) if 0 <= token_id < self.vocab_size else None
        if found is None:
            raise CutawayError(
                f"No token has the id {token_id}. This tokenizer's ids are 0 to {self.vocab_size - 1:,}: "
                "were the ids made with another one?"
            )
        return found

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes that the id stands for in a text. Raises CutawayError for an id that has no token.

        Exact for the four kinds. Where a foreign tokenizer's token reads differently at the start of a text (a word's
        space is dropped there), these are its bytes further on.
        """
        spelling = self.spelling(token_id)
        if self.is_byte_level:
            return unspelled(spelling)
        if self.is_fallback_byte(token_id):
            return bytes([int(spelling[1:-1], 16)])
        once = self._library.decode([token_id], skip_special_tokens=False)
        return self._library.decode([token_id] * 2, skip_special_tokens=False)[len(once) :].encode()

    def token_text(self, token_id: int) -> str:
        """What a person sees of the token: "␣cat", "<e2>". Raises CutawayError for an id that has no token."""
        return visible(self.token_bytes(token_id))

    def id_of(self, token: str) -> int | None:
        """The id of the one token that is exactly this text (" cat", "<|pad|>"), or None.

        A foreign tokenizer that is not byte-level is asked for the token as its file spells it ("▁cat", "##ing").
        """
        check_text(token)
        is_spelled_in_bytes = self.is_byte_level and token not in self._added_ids
        return self._library.token_to_id(spelled(token.encode()) if is_spelled_in_bytes else token)

    def is_special(self, token_id: int) -> bool:
        """Whether `decode(…, skip_special=True)` leaves the id out."""
        return token_id in self._special_ids

    def is_added(self, token_id: int) -> bool:
        """Whether the token is found in a text before the model sees the rest: special tokens, and some foreign ones."""
        return token_id in self._added_ids.values()

    def is_fallback_byte(self, token_id: int) -> bool:
        """Whether the id is one byte, spelled `<0xE2>`, of a tokenizer whose other tokens are text (SentencePiece)."""
        return token_id in self._fallback_bytes

    @cached_property
    def specials(self) -> tuple[str, ...]:
        """The spellings of the special tokens, in the order of their ids."""
        return tuple(self.spelling(token_id) for token_id in sorted(self._special_ids))

    @cached_property
    def frame(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """The ids that the file puts before and after one text, as other tools do: bos, say, or cls and sep.

        `encode` adds none of them; whoever feeds a model does, where the text is the whole of what the model reads.
        """
        found = Library.from_str(self._json).encode("a")
        inside = [index for index, is_added in enumerate(found.special_tokens_mask) if not is_added]
        if not inside:
            return (), ()
        return tuple(found.ids[: inside[0]]), tuple(found.ids[inside[-1] + 1 :])

    @cached_property
    def pair_frame(self) -> PairFrame:
        """The ids that the file puts before, between and after two texts that are read as one, and the types of all tokens."""
        return read_pair_frame(Library.from_str(self._json))

    @cached_property
    def merge_ranks(self) -> dict[Pair, int]:
        """The merges of a BPE tokenizer: pair of spellings -> rank, the lowest first. Empty for other models."""
        return read_ranks(self._json)

    def fingerprint(self) -> str:
        """16 hexadecimal digits (64 bits of SHA-256) of the JSON: equal for equal tokenizers on every machine."""
        return sha256(self._json.encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Tokenizer):
            return NotImplemented
        return self._json == other._json and self.roles == other.roles

    def __hash__(self) -> int:
        return hash(self._json)

    def __repr__(self) -> str:
        return f"Tokenizer(kind={self.kind!r}, vocab_size={self.vocab_size}, fingerprint={self.fingerprint()!r})"

    def __reduce__(self) -> tuple[object, ...]:
        """A copy in another process is made from the JSON: the library's own pickle forgets that text is only text."""
        return (Tokenizer.from_json, (self._json, self.roles))

    def _encode(self, texts: list[str], specials: bool) -> list[list[int]]:
        library = self._marked_library if specials else self._library
        found = [
            encoding.ids
            for batch in _batches(texts)
            for encoding in library.encode_batch_fast(batch, add_special_tokens=False)
        ]
        if specials:
            return found
        spelling_control = [index for index, ids in enumerate(found) if not self._control_ids.isdisjoint(ids)]
        for index in spelling_control:
            found[index] = self._unwritable_library.encode(texts[index], add_special_tokens=False).ids
        return found

    def _refusal(self, texts: Sequence[str], error: BaseException) -> CutawayError:
        """Why the library refused these texts."""
        units = {"character": "character", "word": "word"}
        found = unknown_piece(self._library, texts, units[self.kind]) if self.kind in units else None
        return found or CutawayError(f"The tokenizer ({self.kind}) cannot encode this text: {error}.")

    def _config(self) -> dict[str, object]:
        """The content of `tokenizer_config.json`; transformers 5 calls the additional tokens extra ones and reads both."""
        named = {role: self.spelling(token_id) for role, token_id in self.roles.named().items()}
        spares = [self.spelling(token_id) for token_id in self.roles.spares]
        standard = ("bos", "eos", "pad", "mask", "unk", "cls", "sep")
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{f"{role}_token": spelling for role, spelling in named.items()},
            "additional_special_tokens": [named[role] for role in named if role not in standard] + spares,
            "spare_tokens": spares,
        }

    @cached_property
    def _added_ids(self) -> dict[str, int]:
        return {token.content: token_id for token_id, token in self._library.get_added_tokens_decoder().items()}

    @cached_property
    def _special_ids(self) -> frozenset[int]:
        added = self._library.get_added_tokens_decoder()
        return frozenset(token_id for token_id, token in added.items() if token.special)

    @cached_property
    def _control_ids(self) -> frozenset[int]:
        """The ids that no text may come to. unk is not one: it is what unknown text becomes."""
        return (self._special_ids | {*self.roles.named().values(), *self.roles.spares}) - {self.roles.unk}

    @cached_property
    def _fallback_bytes(self) -> frozenset[int]:
        if not has_byte_fallback(self._library):
            return frozenset()
        found = (self._library.token_to_id(f"<0x{byte:02X}>") for byte in range(256))
        return frozenset(token_id for token_id in found if token_id is not None)

    @cached_property
    def _marked_library(self) -> Library:
        """The twin that turns the spelling of a special token into that token."""
        return _without_frame(Library.from_str(self._json))

    @cached_property
    def _unwritable_library(self) -> Library:
        """The twin for texts that spell what the model itself holds as a control token."""
        return without_spellings(self._json, {self.spelling(token_id) for token_id in self._control_ids})


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    """Runs of texts with about `_BATCH_LENGTH` characters: the library's records take 150 bytes a token until read."""
    start = length = 0
    for end, text in enumerate(texts, start=1):
        length += len(text)
        if length >= _BATCH_LENGTH or end == len(texts):
            yield texts[start:end]
            start, length = end, 0


def _text_only(library: Library) -> Library:
    library.encode_special_tokens = True
    return _without_frame(library)


def _without_frame(library: Library) -> Library:
    """Without the tokens that a foreign tokenizer puts around every text; what a model wants there, a session adds."""
    library.post_processor = None
    return library

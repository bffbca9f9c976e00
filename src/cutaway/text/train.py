"""Documents -> a tokenizer of one of the four kinds. In: texts, a size, a plan of special tokens. Out: a `Tokenizer`.

Byte-pair encoding is trained by the `tokenizers` library (Sennrich et al. 2016, on bytes: Radford et al. 2019). Ordinary
tokens take the first ids and special tokens the last: of the byte kind, the byte is the id; of the character kind, ids
follow the code points; of the word kind, the counts; of bpe, the 256 bytes in GPT-2's order and then the merges.
The same documents give the same tokenizer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, Final

from tokenizers import AddedToken, models, trainers
from tokenizers import Tokenizer as Library

from ..errors import CutawayError, near
from .alphabet import CHARACTERS
from .kept import keep_whole, vocabulary_of
from .kinds import MERGES, Kind, Merges, check_kind, decoder_of, parts, pre_tokenizer_of
from .merges import read_ranks
from .refusals import check_text
from .special import UNKNOWN, SpecialPlan, SpecialRoles
from .tokenizer import Tokenizer
from .visible import visible

# What a merge or a word must occur at least, where the caller does not say.
_MIN_FREQUENCY: Final[dict[Kind, int]] = {"bpe": 2, "word": 1}
_NO_LIMIT: Final = 2**31


def default_plan(kind: str) -> SpecialPlan:
    """The special tokens of a kind where nothing else is asked: none for characters, unk too for words, else all roles.

    Raises CutawayError for a name that is no kind.
    """
    kind = check_kind(kind)
    return SpecialPlan.none() if kind == "character" else SpecialPlan(unk=kind == "word")


def train_tokenizer(
    kind: str,
    documents: Iterable[str],
    *,
    vocab_size: int | None = None,
    specials: SpecialPlan | None = None,
    keep_words: Sequence[str] = (),
    min_frequency: int | None = None,
    merges: Merges = "words",
) -> Tokenizer:
    """Train a tokenizer of `kind` ("character", "word", "byte" or "bpe").

    documents: read once (byte: not at all). vocab_size: the most ids it may have, special ones included (needed for bpe;
    None: as many as the text needs); a small text may give fewer. specials: None takes `default_plan(kind)`. keep_words
    (bpe and word): words that become one token each, for bpe both bare and behind a space. min_frequency (bpe and word):
    how often a pair or word must occur at least. merges (bpe): within what they stay, words or whole sentences.

    Raises CutawayError for an unknown kind, no text, text with a lone surrogate, a vocab_size without room for what the
    kind must hold, options that the kind does not have, and words to keep that cannot be one token.
    """
    kind = check_kind(kind)
    plan = default_plan(kind) if specials is None else specials
    _check_size(kind, plan, vocab_size)
    _check_words(kind, keep_words, min_frequency)
    _check_merges(kind, merges, keep_words)
    room = (_NO_LIMIT if vocab_size is None else vocab_size) - len(plan.tokens())
    texts = _checked(documents)
    if kind == "character":
        model: models.Model = _characters(texts, room, plan)
    elif kind == "word":
        model = _words(texts, room, plan, keep_words, min_frequency or _MIN_FREQUENCY[kind])
    elif kind == "byte":
        model = models.BPE({character: byte for byte, character in enumerate(CHARACTERS)}, [])
    else:
        model = _byte_pairs(texts, room, merges, keep_words, min_frequency or _MIN_FREQUENCY[kind])
    return _assembled(pre_tokenizer_of(kind, merges), decoder_of(kind), model, plan)


def _check_size(kind: Kind, plan: SpecialPlan, vocab_size: int | None) -> None:
    num_specials = len(plan.tokens())
    num_bytes = len(CHARACTERS) if kind in ("byte", "bpe") else 0
    smallest = num_specials + (num_bytes or 1)
    if vocab_size is None and kind == "bpe":
        raise CutawayError(f"A bpe tokenizer needs a vocab_size of at least {smallest}: merges go on until it is full.")
    if vocab_size is not None and vocab_size < smallest:
        raise CutawayError(
            f"vocab_size is {vocab_size}. A {kind} tokenizer with {num_specials} special tokens needs at least {smallest}"
            + (f": there are {num_bytes} bytes." if num_bytes else ".")
        )
    if plan.unk and num_bytes:
        raise CutawayError(f"A {kind} tokenizer knows every text and has no unk token. Leave unk out.")


def _check_words(kind: Kind, keep_words: Sequence[str], min_frequency: int | None) -> None:
    for name, is_given in (("keep_words", bool(keep_words)), ("min_frequency", min_frequency is not None)):
        if is_given and kind not in _MIN_FREQUENCY:
            raise CutawayError(f"{name} has no meaning for a {kind} tokenizer. Leave it out, or choose bpe or word.")
    if isinstance(keep_words, str):
        raise CutawayError("keep_words is one text (str). Give a list of words.")
    if min_frequency is not None and min_frequency < 1:
        raise CutawayError(f"min_frequency is {min_frequency}. It must be at least 1: it is a count of occurrences.")


def _check_merges(kind: Kind, merges: str, keep_words: Sequence[str]) -> None:
    if merges not in MERGES:
        raise CutawayError(f"merges is '{merges}'. Allowed: {', '.join(MERGES)}.{near(merges, MERGES)}")
    if merges != "words" and (kind != "bpe" or keep_words):
        raise CutawayError(
            f"merges is '{merges}', which is for bpe tokenizers without keep_words: a word inside a larger token is none of its "
            "own. Leave one of them out."
        )


def _checked(documents: Iterable[str]) -> Iterator[str]:
    """The documents, in parts where they are long. Raises CutawayError for what is no text, and when there was none."""
    if isinstance(documents, str):
        raise CutawayError("documents is one text (str); a tokenizer is trained on several. Give a list: [text].")
    has_text = False
    for document in documents:
        check_text(document)
        has_text = has_text or bool(document)
        yield from parts(document)
    if not has_text:
        raise CutawayError("There is no text to train a tokenizer on: every document is empty. Check the data's path.")


def _characters(texts: Iterable[str], room: int, plan: SpecialPlan) -> models.WordLevel:
    counts = Counter(chain.from_iterable(texts))
    _check_room("character", len(counts), room, plan)
    kept = sorted(counts, key=lambda character: (-counts[character], character))[:room]
    return _word_level(sorted(kept), plan)


def _words(
    texts: Iterable[str], room: int, plan: SpecialPlan, keep_words: Sequence[str], min_frequency: int
) -> models.WordLevel:
    library = Library(models.WordLevel({}, unk_token=UNKNOWN))
    library.pre_tokenizer = pre_tokenizer_of("word")
    for word in keep_words:
        _check_one_piece(library, word)
    trainer = trainers.WordLevelTrainer(vocab_size=_NO_LIMIT, min_frequency=min_frequency, show_progress=False)
    library.train_from_iterator(texts, trainer)
    vocabulary = library.get_vocab()
    kept = list(dict.fromkeys(keep_words))
    if len(kept) > room:
        raise CutawayError(
            f"keep_words names {len(kept)} words and vocab_size leaves room for {room}. Give a larger one."
        )
    others = sorted(vocabulary.keys() - set(kept), key=vocabulary.__getitem__)
    _check_room("word", len(kept) + len(others), room, plan)
    return _word_level([*kept, *others][:room], plan)


def _check_room(unit: str, num_found: int, room: int, plan: SpecialPlan) -> None:
    if num_found > room and not plan.unk:
        raise CutawayError(
            f"The text holds {num_found:,} {unit}s and vocab_size leaves room for {room:,}. "
            f"Give a vocab_size of at least {num_found + len(plan.tokens()):,}, or ask for an unk token (unk = true)."
        )


def _word_level(tokens: Sequence[str], plan: SpecialPlan) -> models.WordLevel:
    known = [*tokens, UNKNOWN] if plan.unk else tokens
    return models.WordLevel({token: token_id for token_id, token in enumerate(known)}, unk_token=UNKNOWN)


def _byte_pairs(
    texts: Iterable[str], room: int, within: Merges, keep_words: Sequence[str], min_frequency: int
) -> models.BPE:
    library = Library(models.BPE())
    library.pre_tokenizer = pre_tokenizer_of("bpe", within)
    forms = [form for word in keep_words for form in (word, f" {word}")]
    pieces = [_check_one_piece(library, form) for form in forms]
    trainer = trainers.BpeTrainer(
        vocab_size=room, min_frequency=min_frequency, initial_alphabet=list(CHARACTERS), show_progress=False
    )
    library.train_from_iterator(texts, trainer)
    merges = keep_whole(list(read_ranks(library.to_str())), pieces, room)
    return models.BPE(vocabulary_of(merges), merges)


def _check_one_piece(library: Library, form: str) -> str:
    """The one piece (spelled as the model sees it) that `form` is. Raises CutawayError where the text would be cut."""
    check_text(form)
    pieces = [piece for piece, _ in library.pre_tokenizer.pre_tokenize_str(form)]
    if len(pieces) != 1:
        raise CutawayError(
            f"keep_words: '{visible(form)}' cannot be one token: text is cut into {len(pieces)} pieces there before "
            "anything merges. Give a single word of letters."
        )
    return pieces[0]


def _assembled(pre_tokenizer: Any, decoder: Any, model: models.Model, plan: SpecialPlan) -> Tokenizer:
    library = Library(model)
    library.pre_tokenizer = pre_tokenizer
    library.decoder = decoder
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in plan.tokens()])
    roles = SpecialRoles.resolve(plan.spellings(), plan.spares(), library.token_to_id)
    return Tokenizer(library, roles)

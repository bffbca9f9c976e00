"""Small tokenizers for the tests of text: one of each kind, trained here, and foreign ones put together by hand."""

from __future__ import annotations

from functools import cache

from tokenizers import AddedToken, decoders, models, normalizers, pre_tokenizers
from tokenizers import Tokenizer as Library

from cutaway.text import SpecialPlan, SpecialRoles, Tokenizer, train_tokenizer

DOCUMENTS = (
    "Once upon a time there was a small cat. The cat was called Tom, and Tom liked the dog.",
    "“I can’t see the dog,” said Tom; it's 12 o'clock!\n\nThe dog, however, could see 365 cats.\n\tÉté, 🙂, 漢字.",
    "The cat and the dog went up the hill. And up the hill they went: the cat, the dog, the cat.",
)
PLAN = SpecialPlan(num_spares=3)


@cache
def trained(kind: str) -> Tokenizer:
    """A tokenizer of the kind, trained on DOCUMENTS with every special role."""
    if kind == "bpe":
        return train_tokenizer("bpe", DOCUMENTS, vocab_size=340, specials=PLAN)
    if kind == "byte":
        return train_tokenizer("byte", DOCUMENTS, specials=PLAN)
    return train_tokenizer(kind, DOCUMENTS, specials=SpecialPlan(unk=True, num_spares=3))


@cache
def sentencepiece() -> Tokenizer:
    """Llama-2-like: BPE over characters, spaces as ▁, unknown characters as fallback bytes, a leading space dropped."""
    texts = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "a", "b", "▁a", "ab", "▁ab"]
    vocabulary = {token: index for index, token in enumerate(texts)}
    merges = [("▁", "a"), ("a", "b"), ("▁a", "b")]
    library = Library(models.BPE(vocabulary, merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    library.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    library.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    library.add_special_tokens(
        [AddedToken(token, special=True, normalized=False) for token in ("<unk>", "<s>", "</s>")]
    )
    return Tokenizer(library, SpecialRoles(unk=0, bos=1, eos=2))


@cache
def unigram() -> Tokenizer:
    """T5-like: a unigram model that holds `</s>` among its ordinary pieces."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((piece, -3.0) for piece in ("▁", "a", "b", "▁a", "<", "/", "s", ">"))]
    library = Library(models.Unigram(pieces, unk_id=0))
    library.pre_tokenizer = pre_tokenizers.Metaspace()
    library.decoder = decoders.Metaspace()
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in ("<unk>", "</s>")])
    return Tokenizer(library, SpecialRoles(unk=0, eos=1))


@cache
def wordpiece() -> Tokenizer:
    """BERT-like: whole words and ## continuations."""
    tokens = ["[UNK]", "[CLS]", "[SEP]", "a", "b", "##a", "##b", "ab", ".", ",", "##ab"]
    library = Library(models.WordPiece({token: index for index, token in enumerate(tokens)}, unk_token="[UNK]"))
    library.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    library.decoder = decoders.WordPiece()
    library.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in tokens[:3]])
    return Tokenizer(library, SpecialRoles(unk=0, cls=1, sep=2))

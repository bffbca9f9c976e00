"""Documents -> batches: sources (files -> documents), corpus (documents -> token ids on disk), packing (ids -> rows of
fixed length), loader (rows in a stateless, resumable order); dialogues (conversations -> ids, and which of them are scored).
In: files. Out: `Batch`es of NumPy arrays."""

from .corpus import Corpus, build_corpus, encode_documents, split
from .loader import Loader
from .packing import Batch
from .sequential import sequential
from .sources import Source, read_documents

__all__ = [
    "Batch",
    "Corpus",
    "Loader",
    "Source",
    "build_corpus",
    "encode_documents",
    "read_documents",
    "sequential",
    "split",
]

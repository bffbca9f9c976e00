"""Documents -> batches: sources (files -> documents), corpus (documents -> token ids on disk), packing (ids -> rows of
fixed length), loader (rows in a stateless, resumable order); pairs (files -> sources and their targets),
pair_loader (batches of like lengths); questions, question_windows and question_loader (questions on contexts); dialogues
(conversations -> ids, and which of them are scored). In: files. Out: `Batch`es of NumPy arrays."""

from .corpus import Corpus, Encoding, build_corpus, encode_documents, split
from .loader import Loader
from .packing import Batch
from .pair_loader import PairBatch, PairLoader, Pairs, encode_pairs
from .pairs import Pair, PairSource, read_pairs
from .question_loader import WindowBatch, WindowLoader, collate
from .question_windows import Cutter, Passage, Window
from .questions import Marked, Question, QuestionSource, read_questions
from .sequential import sequential
from .sources import Source, read_documents

__all__ = [
    "Batch",
    "Corpus",
    "Cutter",
    "Encoding",
    "Loader",
    "Marked",
    "Pair",
    "PairBatch",
    "PairLoader",
    "PairSource",
    "Pairs",
    "Passage",
    "Question",
    "QuestionSource",
    "Source",
    "Window",
    "WindowBatch",
    "WindowLoader",
    "build_corpus",
    "collate",
    "encode_documents",
    "encode_pairs",
    "read_documents",
    "read_pairs",
    "read_questions",
    "sequential",
    "split",
]

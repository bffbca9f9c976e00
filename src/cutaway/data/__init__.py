"""Documents -> batches: sources (files -> documents), corpus (documents -> token ids on disk), scored (what of a document is
predicted), packing (ids -> rows of fixed length), loader (rows in a stateless, resumable order); pairs (files -> sources and
their targets), pair_loader (batches of like lengths), denoise (texts -> pairs, parts hidden); dialogues (conversations -> ids,
and which of them are scored); questions, question_windows and question_loader (questions on contexts, whose answers are
marked), answer_rows and answer_loader (or written). In: files. Out: `Batch`es of arrays."""

from .answer_loader import AnswerBatch, AnswerLoader
from .answer_rows import FORM, AnswerRow, answer_rows, written_form
from .corpus import Corpus, Encoding, build_corpus, encode_documents, split
from .denoise import Denoised, DenoiseSource, Marks, encode_denoised
from .loader import Loader
from .packing import Batch
from .pair_loader import PairBatch, PairLoader, PairPart, Pairs, encode_pairs
from .pairs import Pair, PairSource, read_pairs
from .question_loader import WindowBatch, WindowLoader, collate
from .question_windows import Cutter, Passage, Window
from .questions import Marked, Question, QuestionSource, read_questions
from .scored import scored_after
from .sequential import sequential
from .sources import Source, read_documents

__all__ = [
    "FORM",
    "AnswerBatch",
    "AnswerLoader",
    "AnswerRow",
    "Batch",
    "Corpus",
    "Cutter",
    "DenoiseSource",
    "Denoised",
    "Encoding",
    "Loader",
    "Marked",
    "Marks",
    "Pair",
    "PairBatch",
    "PairLoader",
    "PairPart",
    "PairSource",
    "Pairs",
    "Passage",
    "Question",
    "QuestionSource",
    "Source",
    "Window",
    "WindowBatch",
    "WindowLoader",
    "answer_rows",
    "build_corpus",
    "collate",
    "encode_denoised",
    "encode_documents",
    "encode_pairs",
    "read_documents",
    "read_pairs",
    "read_questions",
    "scored_after",
    "sequential",
    "split",
    "written_form",
]

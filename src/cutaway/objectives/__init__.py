"""ids -> (inputs, visibility, targets, weights): what a model is trained to predict. One weighted cross-entropy serves all."""

from .answers import answers
from .causal import causal
from .diffusion import block_numbers, by_blocks, drafted, masked, rows_of
from .loss import Task, cross_entropy
from .noise import Evenly, Noise, at_rate, by_count, by_time
from .seq2seq import seq2seq
from .spans import span_logits, spans

__all__ = [
    "Evenly",
    "Noise",
    "Task",
    "answers",
    "at_rate",
    "block_numbers",
    "by_blocks",
    "by_count",
    "by_time",
    "causal",
    "cross_entropy",
    "drafted",
    "masked",
    "rows_of",
    "seq2seq",
    "span_logits",
    "spans",
]

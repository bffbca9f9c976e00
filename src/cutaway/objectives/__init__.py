"""ids -> (inputs, visibility, targets, weights): what a model is trained to predict. One weighted cross-entropy serves all."""

from .answers import answers
from .causal import causal
from .loss import Task, cross_entropy
from .seq2seq import seq2seq
from .spans import span_logits, spans

__all__ = ["Task", "answers", "causal", "cross_entropy", "seq2seq", "span_logits", "spans"]

"""ids -> (inputs, visibility, targets, weights): what a model is trained to predict. One weighted cross-entropy serves all."""

from .causal import causal
from .loss import Task, cross_entropy

__all__ = ["Task", "causal", "cross_entropy"]

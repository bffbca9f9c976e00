"""ids -> logits: the readable definition of every model, in the order of the way.

transformer (the whole forward pass) · embedding · position · block · attention · feedforward · norm · projection · head ·
visibility (who sees whom) · call (what one pass is given) · attend (the readable softmax) · initialise.
"""

from .call import Call, Frame, Memory
from .initialise import begin_token, initialise, with_labels
from .transformer import Stack, Transformer
from .visibility import Tokens

__all__ = ["Call", "Frame", "Memory", "Stack", "Tokens", "Transformer", "begin_token", "initialise", "with_labels"]

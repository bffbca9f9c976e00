"""text <-> ids: tokenizers (train, load, save, explain), and text while it streams.

tokenizer (text <-> ids) · train (documents -> tokenizer) · special (plan and roles of special tokens) · explain (how a text
became tokens) · stream (ids -> text as they come) · visible (what a person sees). Behind them: kinds (how each kind cuts
text) · alphabet (bytes as characters) · merges and kept (byte-pair encoding) · files and formats (what people already have) ·
reading · refusals · unwritable.
"""

from .explain import Explanation, explain
from .files import find_tokenizer
from .special import SpecialPlan, SpecialRoles
from .stream import StreamDecoder
from .tokenizer import Tokenizer
from .train import default_plan, train_tokenizer
from .visible import visible

__all__ = [
    "Explanation",
    "SpecialPlan",
    "SpecialRoles",
    "StreamDecoder",
    "Tokenizer",
    "default_plan",
    "explain",
    "find_tokenizer",
    "train_tokenizer",
    "visible",
]

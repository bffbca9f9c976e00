"""text <-> ids: tokenizers (train, load, save, explain), text while it streams, and conversations as text.

tokenizer (text <-> ids) · train (documents -> tokenizer) · special (plan and roles of special tokens) · explain (how a text
became tokens) · stream (ids -> text as they come) · visible (what a person sees) · chat (conversations -> text) ·
turns (conversations -> ids, and where replies lie). Behind them: kinds (how each kind cuts text) · alphabet (bytes as
characters) · merges and kept (byte-pair encoding) · files and formats (what people already have) · reading · chat_worker ·
refusals · unwritable.
"""

from .chat import ChatTemplate, read_chat_template
from .explain import Explanation, explain
from .files import find_tokenizer
from .frame import PairFrame
from .special import SpecialPlan, SpecialRoles
from .stream import StreamDecoder
from .tokenizer import Tokenizer
from .train import default_plan, train_tokenizer
from .visible import visible

__all__ = [
    "ChatTemplate",
    "Explanation",
    "PairFrame",
    "SpecialPlan",
    "SpecialRoles",
    "StreamDecoder",
    "Tokenizer",
    "default_plan",
    "explain",
    "find_tokenizer",
    "read_chat_template",
    "train_tokenizer",
    "visible",
]

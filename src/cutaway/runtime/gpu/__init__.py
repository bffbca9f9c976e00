"""What makes a model fast on a GPU, behind the seams that are there: the readable forward runs once, and is replayed.

static (a store of fixed shape, written in place) · merged (projections of one input as one matrix) · grouped (attention of one
token, without a copy of keys for each head) · graphed (one-token passes, compiled and captured) · moved (a model, put
there) · room (bytes needed, and there)
"""

from .graphed import Graphed, is_fixed
from .grouped import grouped
from .merged import merge_projections
from .moved import move, type_of
from .room import check_device_memory, needed_bytes
from .static import StaticStore

__all__ = [
    "Graphed",
    "StaticStore",
    "check_device_memory",
    "grouped",
    "is_fixed",
    "merge_projections",
    "move",
    "needed_bytes",
    "type_of",
]

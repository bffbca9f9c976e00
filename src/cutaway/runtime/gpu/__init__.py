"""What makes a model fast on a GPU, behind the seams that are there: the readable forward runs once, and is replayed.

static (a store of fixed shape, written in place) · merged (projections of one input as one matrix) · grouped (attention of one
token, without a copy of keys for each head) · graphed (one-token passes, compiled and captured) · room (bytes needed, and there)
"""

from .graphed import Graphed
from .grouped import grouped
from .merged import merge_projections
from .room import check_device_memory, needed_bytes
from .static import StaticStore

__all__ = ["Graphed", "StaticStore", "check_device_memory", "grouped", "merge_projections", "needed_bytes"]

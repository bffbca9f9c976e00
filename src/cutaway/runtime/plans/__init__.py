"""Recorded plans: the readable forward, run once with recording leaves, as a list of native operations for a few tokens.

product (what a projection hands out) · program (the list in memory, and its replay) · tape (the operations, one by one) ·
symbol (what stands for a tensor while a pass is recorded) · leaves, recorder (a model -> its tape) · guard (is the model
still that one?) · room (what is asked, and where in a store) · plan (tokens through a store) · planner (when a plan is
recorded, admitted, dropped)
"""

from .plan import Plan
from .planner import Planner
from .product import HasRowProduct
from .recorder import record
from .room import Pass
from .symbol import UnplannedError

__all__ = ["HasRowProduct", "Pass", "Plan", "Planner", "UnplannedError", "record"]

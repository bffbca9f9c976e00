"""distribution -> ids: how a model's logits become a sequence, one decoder or many.

session (one sequence and its KV store) · step (what decoders and drivers say to each other) · run (one decoder) ·
engine (many, packed into one row) · pack (steps -> passes) · samplers (logits -> one id) · autoregressive (one token after
another) · stop (text up to a stop string).
"""

from .autoregressive import autoregressive
from .engine import Engine
from .run import Figures, run
from .samplers import Sampling, choose, distribution, uniform
from .session import Session
from .step import Decoder, Event, Step, ask, ask_all, replay
from .stop import StopText

__all__ = [
    "Decoder",
    "Engine",
    "Event",
    "Figures",
    "Sampling",
    "Session",
    "Step",
    "StopText",
    "ask",
    "ask_all",
    "autoregressive",
    "choose",
    "distribution",
    "replay",
    "run",
    "uniform",
]

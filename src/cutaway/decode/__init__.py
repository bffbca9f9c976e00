"""distribution -> ids: how a model's logits become a sequence, one decoder or many.

session (one sequence and its KV store) · step (what decoders and drivers say to each other) · run (one decoder) ·
engine (many, packed into one row) · pack (steps -> passes) · samplers (logits -> one id) · constraints (what a text must and
must not say) · autoregressive (one token after another) · beam (the best of several texts) · batch (the same for many sources) ·
drafted and verify (drafts, and what stands of them) · hybrid, lookup, draft (who drafts: masks, the text, a smaller model) ·
trials (how far ahead to draft) · stop (text up to a stop string) · written (events -> text) · spans (begin and end -> the best
spans).
"""

from .autoregressive import autoregressive
from .batch import hypotheses_of_sources
from .beam import Beam, Hypothesis, beam_search, hypotheses
from .constraints import Constraints
from .denoise import ORDERS, Denoising, Order, denoise
from .draft import Drafter, draft
from .engine import Engine
from .hybrid import hybrid
from .lookup import Lookup, lookup
from .natural import DECODERS, DecoderName, Way, alone, name_of, natural, opened
from .rounds import Drafting
from .run import Figures, run
from .samplers import Sampling, choose, distribution, uniform
from .session import Session
from .spans import best_spans, span_scores
from .step import Decoder, Event, Step, ask, ask_all, replay
from .stop import StopText
from .trials import Trial, fastest, trials, ways_to_draft
from .written import WrittenText, written

__all__ = [
    "DECODERS",
    "ORDERS",
    "Beam",
    "Constraints",
    "Decoder",
    "DecoderName",
    "Denoising",
    "Drafter",
    "Drafting",
    "Engine",
    "Event",
    "Figures",
    "Hypothesis",
    "Lookup",
    "Order",
    "Sampling",
    "Session",
    "Step",
    "StopText",
    "Trial",
    "Way",
    "WrittenText",
    "alone",
    "ask",
    "ask_all",
    "autoregressive",
    "beam_search",
    "best_spans",
    "choose",
    "denoise",
    "distribution",
    "draft",
    "fastest",
    "hybrid",
    "hypotheses",
    "hypotheses_of_sources",
    "lookup",
    "name_of",
    "natural",
    "opened",
    "replay",
    "run",
    "span_scores",
    "trials",
    "uniform",
    "ways_to_draft",
    "written",
]

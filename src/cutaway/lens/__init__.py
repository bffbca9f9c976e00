"""Look inside. In: a model, a prompt and patterns of sites. Out: every number on the way from text to text.

sites (what can be seen, and its shape, before anything runs) · reading (what a pass reads) · observe (run it and look: one pass,
or every step of a generation) · trace (what was seen) · edits (what is changed on the way; places: which tokens and heads)
· of_model (experiments on texts, `lm.lens`): contributions · rollout · logit_lens · gradients · patching · ablation · induction
· embeddings, each of which says what it measures and what it does not; result and sheet: how they draw and save themselves
· way (a prompt's whole way: tokens, inputs, heads, stream, units, output, each with its equations; words: ids as texts).
"""

from .sites import Site, match, sites
from .trace import Recorder, Trace

__all__ = ["Recorder", "Site", "Trace", "match", "sites"]

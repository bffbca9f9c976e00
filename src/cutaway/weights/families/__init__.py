"""The families of models, by name. In: a model type or a config. Out: the family that it is, or that holds it.

To add a family: one file beside gpt2.py with `read`, `write` and a name table, and its name in FAMILIES.
"""

from __future__ import annotations

from ...config import ModelConfig
from ...errors import CutawayError, near
from .bart import BART
from .bert import BERT
from .dream import DREAM
from .family import Family
from .gemma import GEMMA, GEMMA2, GEMMA3
from .gpt2 import GPT2
from .gpt_neox import GPT_NEOX
from .llada import LLADA
from .llama import LLAMA
from .marian import MARIAN
from .mistral import MISTRAL, MIXTRAL
from .native import NATIVE
from .olmo import OLMO2, OLMO3
from .phi3 import PHI3
from .qwen import QWEN2, QWEN3, QWEN3_MOE
from .roberta import ROBERTA, XLM_ROBERTA
from .smollm3 import SMOLLM3
from .t5 import MT5, T5

__all__ = ["FAMILIES", "Family", "explain_misfit", "family_of", "find_family"]

# In the order in which they are asked whether they hold a config; the last holds all.
FAMILIES = (
    GPT2,
    LLAMA,
    MISTRAL,
    MIXTRAL,
    QWEN2,
    QWEN3,
    QWEN3_MOE,
    GEMMA,
    GEMMA2,
    GEMMA3,
    PHI3,
    OLMO2,
    OLMO3,
    SMOLLM3,
    GPT_NEOX,
    LLADA,
    DREAM,
    BERT,
    ROBERTA,
    XLM_ROBERTA,
    T5,
    MT5,
    BART,
    MARIAN,
    NATIVE,
)


def find_family(model_type: object, where: str) -> Family:
    """The family of a config.json. where: the file, for messages. Raises CutawayError for an unknown one."""
    for family in FAMILIES:
        if family.model_type == model_type:
            return family
    known = [family.model_type for family in FAMILIES]
    if not isinstance(model_type, str):
        raise CutawayError(f"{where} names no model_type. Known: {', '.join(known)}.")
    close = near(model_type, known)
    raise CutawayError(
        f"{where} has model_type '{model_type[:80]}', an architecture that Cutaway does not know. "
        f"Known: {', '.join(known)}.{close if 'mean' in close else ''}"
    )


def family_of(config: ModelConfig) -> Family:
    """The first family that holds the config."""
    return next(family for family in FAMILIES if not family.misfits(config))


def explain_misfit(config: ModelConfig) -> str | None:
    """The knob because of which no other tool opens the config, with what the nearest family has there; None if one does."""
    if family_of(config) is not NATIVE:
        return None
    families = [family for family in FAMILIES if family is not NATIVE]
    alike = [family for family in families if family.is_alike(config)] or families
    return min((family.misfits(config) for family in alike), key=len)[0]

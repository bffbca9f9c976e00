"""Which metrics there are. In: names as a person writes them (`bleu`, `bleu:zh`, `rouge`). Out: families and their options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from ...errors import CutawayError, near
from .answers import ACCURACY, SQUAD
from .correlation import SPEARMAN
from .likelihood import BITS_PER_BYTE
from .metric import Family, Metric
from .summaries import ROUGE
from .translation import BLEU, CHRF

FAMILIES: Final = {family.name: family for family in (BLEU, CHRF, ROUGE, SQUAD, ACCURACY)}
METRICS: Final[dict[str, Metric]] = {
    metric.name: metric
    for metric in (*(metric for family in FAMILIES.values() for metric in family.metrics), BITS_PER_BYTE, SPEARMAN)
}


def find_families(names: str | Sequence[str]) -> list[tuple[Family, str]]:
    """Families with the option asked for. names: one or several, each once. Raises CutawayError for any other or no library."""
    wanted = [names] if isinstance(names, str) else list(names)
    if not wanted:
        raise CutawayError(f"No metric is named. Allowed: {', '.join(FAMILIES)}.")
    found = [_find(name) for name in wanted]
    for index, (family, _) in enumerate(found):
        if family in [other for other, _ in found[:index]]:
            raise CutawayError(f"The metric '{family.name}' is named twice. Name each once.")
    return found


def _find(name: str) -> tuple[Family, str]:
    base, _, option = name.partition(":")
    family = FAMILIES.get(base)
    if family is None:
        raise CutawayError(f"There is no metric '{base}'.{near(base, FAMILIES)}")
    if option and option not in family.options:
        allowed = f"Allowed: {', '.join(family.options)}." if family.options != ("",) else "It takes none."
        raise CutawayError(f"'{option}' is no option of the metric '{base}'. {allowed}")
    family.require()
    return family, option or family.options[0]

"""Every way that chance can go. In: a decoder that asks a `Chance`. Out: what comes out of each way, with its probability."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from torch import Tensor

from cutaway.decode import Decoder, replay, run
from cutaway.decode.chance import Chance


@dataclass
class Scripted:
    """Answers as a script says, and behind its end with the first way that is possible. ways: what each could have been."""

    script: list[int]
    ways: list[list[int]] = field(default_factory=list)
    probability: float = 1.0

    def draw(self, probabilities: Tensor, position: int, purpose: int = 0) -> int:  # noqa: ARG002 (the seam)
        """See `Chance`."""
        shares = (probabilities.double() / probabilities.double().sum()).tolist()
        return self._take(shares)

    def happens(self, probability: float, position: int, purpose: int) -> bool:  # noqa: ARG002 (the seam)
        """See `Chance`."""
        return self._take([1 - probability, probability]) == 1

    def _take(self, shares: list[float]) -> int:
        possible = [way for way, share in enumerate(shares) if share > 0]
        number = len(self.ways)
        choice = self.script[number] if number < len(self.script) else possible[0]
        self.ways.append(possible)
        if number == len(self.script):
            self.script.append(choice)
        self.probability *= shares[choice]
        return choice


def outcomes(decoder: Callable[[Chance], Decoder]) -> dict[tuple[int, ...], float]:
    """The probability of every text: ids by place -> the sum over all ways that lead to them."""
    found: dict[tuple[int, ...], float] = defaultdict(float)
    for ids, probability in _ways(decoder):
        found[ids] += probability
    return found


def _ways(decoder: Callable[[Chance], Decoder]) -> Iterator[tuple[tuple[int, ...], float]]:
    script: list[int] | None = []
    while script is not None:
        chance = Scripted(script)
        places = replay(run(decoder(chance)))
        yield tuple(places[place] for place in sorted(places)), chance.probability
        script = _next(chance)


def _next(chance: Scripted) -> list[int] | None:
    """The script after this one: the last answer that could have been another is."""
    for number in reversed(range(len(chance.ways))):
        later = [way for way in chance.ways[number] if way > chance.script[number]]
        if later:
            return [*chance.script[:number], later[0]]
    return None

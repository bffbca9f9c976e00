"""Special tokens: which ones a new tokenizer gets (the plan) and which ids play which role (the roles).

In: a `SpecialPlan`. Out: spellings, and after training or loading a `SpecialRoles`, the only place that knows the ids of
begin, end, padding, mask and chat roles. Special tokens take the last ids of a vocabulary, in the order of the plan.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

from ..errors import CutawayError

END_OF_TEXT: Final = "<|endoftext|>"
MASK: Final = "<|mask|>"
UNKNOWN: Final = "<unk>"
_CHAT_ROLES: Final = ("system", "user", "assistant", "end")


@dataclass(frozen=True, kw_only=True)
class SpecialPlan:
    """The special tokens of a tokenizer that is to be trained. Their ids follow in this order, after all other tokens.

    unk: `<unk>`, for characters or words never seen (character and word kinds only; the others know every text).
    end_of_text: `<|endoftext|>`, one id for both bos and eos, as in GPT-2. pad: `<|pad|>`. mask: `<|mask|>`, for masked and
    diffusion objectives. chat: `<|system|>`, `<|user|>`, `<|assistant|>`, `<|end|>`. num_spares: `<|spare_0|>` …, ids that
    later training may give a meaning without a change of size. Raises CutawayError for a negative count.
    """

    unk: bool = False
    end_of_text: bool = True
    pad: bool = True
    mask: bool = True
    chat: bool = True
    num_spares: int = 0

    def __post_init__(self) -> None:
        if self.num_spares < 0:
            raise CutawayError(f"num_spares is {self.num_spares}. It must be 0 or more: it counts reserved tokens.")

    @classmethod
    def none(cls) -> SpecialPlan:
        """No special token at all."""
        return cls(end_of_text=False, pad=False, mask=False, chat=False)

    def spellings(self) -> dict[str, str]:
        """Role -> spelling, in the order of the ids. bos and eos share theirs; spares are not among them."""
        planned = {
            "unk": UNKNOWN if self.unk else None,
            "bos": END_OF_TEXT if self.end_of_text else None,
            "eos": END_OF_TEXT if self.end_of_text else None,
            "pad": "<|pad|>" if self.pad else None,
            "mask": MASK if self.mask else None,
            **{role: f"<|{role}|>" if self.chat else None for role in _CHAT_ROLES},
        }
        return {role: spelling for role, spelling in planned.items() if spelling is not None}

    def spares(self) -> tuple[str, ...]:
        """The spellings of the spare tokens."""
        return tuple(f"<|spare_{index}|>" for index in range(self.num_spares))

    def tokens(self) -> list[str]:
        """Every special spelling once, in the order of the ids."""
        return list(dict.fromkeys([*self.spellings().values(), *self.spares()]))


@dataclass(frozen=True, kw_only=True)
class SpecialRoles:
    """Role -> id. None where the tokenizer has no token for the role. spares: the reserved ids, in order.

    end closes one turn of a chat; eos closes the text. cls and sep exist in encoder families only.
    """

    bos: int | None = None
    eos: int | None = None
    pad: int | None = None
    mask: int | None = None
    unk: int | None = None
    cls: int | None = None
    sep: int | None = None
    system: int | None = None
    user: int | None = None
    assistant: int | None = None
    end: int | None = None
    spares: tuple[int, ...] = ()

    def named(self) -> dict[str, int]:
        """The roles that have an id, without the spares."""
        found = {name: getattr(self, name) for name in ROLE_NAMES}
        return {name: token_id for name, token_id in found.items() if token_id is not None}

    @classmethod
    def resolve(
        cls, spellings: dict[str, str], spares: tuple[str, ...], id_of: Callable[[str], int | None]
    ) -> SpecialRoles:
        """The roles of spelled tokens. A spelling that the vocabulary does not hold gives no role."""
        found = {role: id_of(spelling) for role, spelling in spellings.items()}
        spare_ids = tuple(token_id for token_id in map(id_of, spares) if token_id is not None)
        return cls(**found, spares=spare_ids)


ROLE_NAMES: Final = tuple(field.name for field in fields(SpecialRoles) if field.name != "spares")

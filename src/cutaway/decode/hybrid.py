"""Think in diffusion, talk autoregressively. In: a session of a hybrid model and a prompt. Out: drafts, verdicts, commits.

Every pass reads what is certain so far, the drafts after it, and masks at which the model drafts what may follow (Liu et al.
2025, TiDAR). Its own autoregressive half has the say: see `drafted`.

one pass    the drafts are verified, and for every number of them that may stand there is a block of masks that drafts anew:
            behind K drafts, K + 1 blocks of K masks. When the verdict is known, so is the block that counts.
two passes  one verifies the drafts, one drafts behind what is certain: fewer tokens a pass, but more passes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from .autoregressive import start_ids
from .chance import Chance
from .choosing import choosing
from .drafted import drafted
from .rounds import Drafting, Rounds
from .samplers import Sampling
from .session import Session
from .step import Decoder


def hybrid(
    session: Session,
    prompt_ids: Sequence[int],
    sampling: Sampling,
    *,
    max_tokens: int,
    drafting: Drafting | None = None,
    eos_ids: Collection[int] | None = None,
    request: int = 0,
    chance: Chance | None = None,
) -> Decoder:
    """Continue the session with the prompt and then up to max_tokens tokens, as `autoregressive` does, which see for arguments.

    drafting: how far ahead. chance: where random choices come from; None: from the seed and the request.
    Raises CutawayError, at the first step, for a model that was not trained to draft, more drafts than it learned, and whatever
    `autoregressive` refuses.
    """
    ids: Sequence[int] = prompt_ids or start_ids(session)
    how = choosing(session, ids, sampling, max_tokens=max_tokens, eos_ids=eos_ids, request=request, chance=chance)
    yield from drafted(session, ids, Rounds(session, how, drafting or Drafting()), how)

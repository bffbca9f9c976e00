"""A token to hide others with, for a tokenizer that has none. In: a library tokenizer. Out: it with the token, and the id.

The token takes an id that no other has; all others keep theirs. A special token that is spelled so already is taken as it is.
"""

from __future__ import annotations

import json
from itertools import chain, count

from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from .special import MASK


def add_mask(library: Library) -> tuple[Library, int]:
    """The tokenizer with a mask token, and its id. library: taken over."""
    special = {token.content for token in library.get_added_tokens_decoder().values() if token.special}
    names = chain([MASK], (f"{MASK[:-2]}_{index}|>" for index in count()))
    spelling = next(name for name in names if name in special or library.token_to_id(name) is None)
    if spelling in special:
        found = library.token_to_id(spelling)
        assert found is not None, "an added token has an id"
        return library, found
    spelled = {token_id: token for token, token_id in library.get_vocab().items()}
    added = Library.from_str(library.to_str())
    added.add_special_tokens([AddedToken(spelling, special=True, normalized=False)])
    mask_id = added.token_to_id(spelling)
    if mask_id is None or mask_id in spelled:  # ids with gaps: the library counts tokens to find a free one
        mask_id = max(spelled) + 1
        added = _placed(library, spelling, mask_id)
    return added, mask_id


def _placed(library: Library, spelling: str, mask_id: int) -> Library:
    """The tokenizer with a special token at an id of its vocabulary."""
    data = json.loads(library.to_str())
    data["model"]["vocab"][spelling] = mask_id  # a list of pieces has no gaps
    switches = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    data["added_tokens"].append({"id": mask_id, "content": spelling, **switches, "special": True})
    return Library.from_str(json.dumps(data))

"""The page that shows how to add a family: what it shows opens and saves a real one, and the table of families is current."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Starcoder2Config, Starcoder2ForCausalLM

from cutaway.model import Call, visibility
from cutaway.weights import checkpoint, families
from tests import tiny
from tests.design.tree import ROOT
from tests.scripts import script

PAGE = ROOT / "docs" / "add-a-family.md"
TABLE = ROOT / "docs" / "reference" / "families.md"


def shown() -> Any:
    """The family of the page."""
    block = PAGE.read_text("utf-8").split("```python\n")[1].split("```")[0]
    names: dict[str, Any] = {}
    exec(compile(block, str(PAGE), "exec"), names)
    return names["STARCODER2"]


@pytest.mark.parametrize("knobs", [{}, {"sliding_window": 5, "use_bias": False, "tie_word_embeddings": False}], ids=str)
def test_the_page_shows_a_family_that_works(
    knobs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = shown()
    monkeypatch.setattr(families, "FAMILIES", (*families.FAMILIES[:-1], family, families.FAMILIES[-1]))
    sizes = {"vocab_size": tiny.VOCAB, "hidden_size": 24, "intermediate_size": 37, "num_hidden_layers": 3}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 40}
    torch.manual_seed(3)
    config = Starcoder2Config(**{**sizes, **heads, "bos_token_id": 1, "eos_token_id": 2, **knobs})
    reference, ids = Starcoder2ForCausalLM(config).eval(), tiny.ids(2, 17)
    for parameter in reference.parameters():
        parameter.data += 0.3 * torch.randn(parameter.shape)
    reference.save_pretrained(tmp_path / "theirs")
    ours = checkpoint.load(tmp_path / "theirs")
    with torch.inference_mode():
        wanted = reference(ids).logits
        tiny.assert_close(ours(ids, Call(visibility.causal(17))), wanted)
        checkpoint.save(tmp_path / "ours", ours)
        again = AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
        assert isinstance(again, Starcoder2ForCausalLM)
        tiny.assert_close(again(ids).logits, wanted)


def test_the_table_is_what_its_script_writes() -> None:
    path = TABLE.with_name("make_families.py")
    assert TABLE.read_text("utf-8") == script(path).page(), f"run: python {path.relative_to(ROOT)}"

"""Put a trained run into the package. In: a run directory. Out: src/cutaway/models/translate-de-en and its card.

    python recipes/translate-de-en/bundle.py runs/translate-de-en

The weights are stored in half precision. The card's figures are measured here, on the stored weights: BLEU and chrF on the test
pairs, greedy and with five beams, and how many sentences a second are translated.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of bundling.py

from bundling import bundle, facts_table, made_by
from cutaway.cost import num_parameters
from cutaway.data import PairSource
from cutaway.decode import Beam
from cutaway.lm import LM
from cutaway.tasks.compare import compare_reports
from cutaway.tasks.report import Report
from cutaway.tasks.translate import evaluate_translations, translate

HERE = Path(__file__).parent
NAME = "translate-de-en"
SEARCHES = {"greedy": Beam(num_beams=1), "5 beams": Beam(num_beams=5)}
SHOWN = (
    "Guten Morgen!",
    "Wo ist der Bahnhof?",
    "Ich habe heute keine Zeit, aber morgen komme ich gerne.",
    "Meine Schwester wohnt seit drei Jahren in Berlin.",
    "Wenn ich reich wäre, würde ich um die Welt reisen.",
    "Der Bundesrat berät über die Neufassung des Gesetzes.",
)
FRONT_MATTER = """---
license: cc-by-2.0
language:
- de
- en
pipeline_tag: translation
---
"""
INTRODUCTION = f"""
# {NAME}

A small translator from German to English: the model that `cutaway translate` uses when none is named. It was trained on short
sentences of everyday life. Those it translates mostly well; of long sentences, rare words, names of places and technical texts it
makes something up.
"""
LICENCES = """
## Licences

The pairs are those of Tatoeba (https://tatoeba.org), CC BY 2.0 FR: whoever passes the weights on names it.
`recipes/translate-de-en/README.md` tells how to get them, with the checksum.
"""


def main() -> None:
    """Bundle the run that the command line names."""
    bundle(NAME, __doc__ or "", card)


def card(lm: LM, run: Path) -> str:
    """The model card, measured."""
    translate(lm, SHOWN)  # what only the first ones take is not counted
    test = PairSource(files=str(HERE / "data" / "test.tsv"))
    reports = {name: evaluate_translations(lm, test, beam=beam) for name, beam in SEARCHES.items()}
    return "\n".join([FRONT_MATTER, INTRODUCTION, about(lm, run), measured(reports), samples(lm), LICENCES])


def about(lm: LM, run: Path) -> str:
    """What the model is, and what it cost to make."""
    encoder, decoder = lm.config.encoder, lm.config.decoder
    assert encoder is not None
    assert decoder is not None
    facts = {
        "parameters": f"{num_parameters(lm.config):,}",
        "layers": f"encoder {encoder.num_layers}, decoder {decoder.num_layers}",
        "heads, width, feed-forward": f"{encoder.attention.num_heads}, {encoder.d_model}, {encoder.feedforward.d_hidden}",
        "vocabulary": f"{lm.tokenizer.vocab_size:,} byte-level BPE tokens for both languages",
        "positions": "fixed sinusoids, added to the token embedding; the shape is Marian's, so transformers opens it",
        "by": made_by(NAME, run),
        "stored as": "float16",
    }
    return facts_table(facts)


def measured(reports: dict[str, Report]) -> str:
    """How well it translates what it never saw."""
    rows = [
        "\n## On 2,000 sentences never trained on\n",
        "`cutaway evaluate translate-de-en recipes/translate-de-en/data/test.tsv --beams 5`, one reference each:\n",
        "| search | BLEU | chrF | sentences a second, two shared cores |",
        "|---|--:|--:|--:|",
    ]
    for name, report in reports.items():
        scores = [report.score(metric) for metric in ("bleu", "chrf")]
        shown = " | ".join(f"{score.value:.1f} ({score.low:.1f}–{score.high:.1f})" for score in scores)
        rows.append(f"| {name} | {shown} | {report.num_examples / report.seconds:.0f} |")
    (gain, *_) = compare_reports(*reports.values())
    chance = gain.test.randomisation_p
    rows.append(
        f"\nFive beams gain {gain.test.difference:+.2f} BLEU over greedy ({gain.test.low:+.2f} to {gain.test.high:+.2f}, "
        f"{f'p = {chance:.3f}' if chance >= 0.001 else 'p < 0.001'})."
    )
    rows.append(f"Signature: `{next(iter(reports.values())).score('bleu').signature}`")
    return "\n".join(rows)


def samples(lm: LM) -> str:
    """Sentences that show what it can and cannot do."""
    lines = [f"| {found.source} | {found.text} |" for found in translate(lm, SHOWN)]
    return "\n".join(["\n## A few sentences, with four beams\n", "| German | English |", "|---|---|", *lines])


if __name__ == "__main__":
    main()

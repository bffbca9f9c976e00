"""Put a trained run into the package. In: a run directory. Out: src/cutaway/models/stories-chat and its card.

    python recipes/stories-chat/bundle.py runs/stories-chat

The weights are stored in half precision. The card's figures are measured here, on the stored weights: bits per byte of replies
never trained on, before and after finetuning, and a conversation of six turns with what a person would say.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))  # of bundling.py

import cutaway
from bundling import bundle, facts_table, made_by
from cutaway.cost import num_parameters
from cutaway.decode import Sampling
from cutaway.lm import LM
from cutaway.tasks.chat import Conversation, reply, template_of
from cutaway.tasks.compare import compare_reports
from cutaway.tasks.replies import evaluate_replies

HERE = Path(__file__).parent
NAME, BASE = "stories-chat", "stories"
HELD_OUT = ("sgd.heldout.jsonl", "taskmaster.heldout.jsonl")
SAID = (
    "Hi, I am looking for a restaurant in San Jose.",
    "Something Italian would be nice, and not too expensive.",
    "What is their phone number?",
    "Great. Please book a table for two at 7 pm tomorrow.",
    "Yes, that is right.",
    "No, that is all. Thank you!",
)
OTHER = ("Why is the sky blue?", "Tell me a story about a cat.", "What is your name?")
FRONT_MATTER = """---
license: cc-by-sa-4.0
language: en
pipeline_tag: text-generation
base_model: stories
---
"""
INTRODUCTION = f"""
# {NAME}

A small conversationalist: the model that `cutaway chat` uses when none is named. It is `stories`, finetuned on conversations in
which people book a table, look for a flight or order a coffee, and has learned how such talks go: it asks for what is missing,
proposes, and confirms. It knows nothing of the world. Every restaurant, number and price is made up; it books nothing; of other
things it has nothing to say, and it soon loses the thread.
"""
LICENCES = """
## Licences

The weights are under CC BY-SA 4.0. The conversations are those of Schema-Guided Dialogue (Rastogi et al. 2020), CC BY-SA 4.0, and
of Taskmaster-4, CC BY 4.0; `recipes/stories-chat/README.md` names both with where they come from. Those of `stories` are in its
own card.
"""


def main() -> None:
    """Bundle the run that the command line names."""
    bundle(NAME, __doc__ or "", card, save_more=lambda lm, target: template_of(lm).save(target))


def card(lm: LM, run: Path) -> str:
    """The model card, measured."""
    return "\n".join(
        [FRONT_MATTER, INTRODUCTION, about(lm, run), measured(lm), conversation(lm), strange(lm), LICENCES]
    )


def about(lm: LM, run: Path) -> str:
    """What the model is, and what it cost to make."""
    decoder = lm.config.main
    facts = {
        "parameters": f"{num_parameters(lm.config):,}",
        "layers, heads, width, feed-forward": f"{decoder.num_layers}, {decoder.attention.num_heads}, {decoder.d_model}, "
        f"{decoder.feedforward.d_hidden}",
        "context": f"{lm.config.context} tokens, of which the oldest turns are left out",
        "by": made_by(NAME, run),
        "stored as": "float16",
    }
    return facts_table(facts)


def measured(lm: LM) -> str:
    """How likely replies are that it never saw, beside the base."""
    base = cutaway.load(BASE)
    rows = [
        "\n## Replies never trained on\n",
        f"`cutaway evaluate {NAME} FILE --task chat`, bits per byte of each reply, given all that was said before:\n",
        f"| file | replies | `{BASE}` | `{NAME}` | difference |",
        "|---|--:|--:|--:|--:|",
    ]
    for name in HELD_OUT:
        before, after = (evaluate_replies(each, HERE / "data" / name) for each in (base, lm))
        (change,) = compare_reports(before, after)
        values = [f"{each.value:.3f} ({each.low:.3f}–{each.high:.3f})" for each in (before.scores[0], after.scores[0])]
        rows.append(f"| `{name}` | {after.num_examples:,} | {' | '.join(values)} | {change.test.difference:+.3f} |")
    return "\n".join(rows)


def conversation(lm: LM) -> str:
    """Six turns, one after the other, likeliest words."""
    talk, lines = Conversation(), ["\n## Six turns, likeliest words\n"]
    for said in SAID:
        talk = talk.add("user", said)
        answer = "".join(reply(lm, talk, max_tokens=80)).strip()
        talk = talk.add("assistant", answer or "…")
        lines += [f"> **you** {said}", ">", f"> **{NAME}** {answer}", ">"]
    return "\n".join(lines[:-1])


def strange(lm: LM) -> str:
    """What it says to what it never learned about."""
    lines = ["\n## What it was not made for\n", "| said to it | its reply |", "|---|---|"]
    for said in OTHER:
        answer = "".join(reply(lm, Conversation().add("user", said), max_tokens=60, sampling=Sampling(temperature=0.0)))
        lines.append(f"| {said} | {answer.strip()} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()

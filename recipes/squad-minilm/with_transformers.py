"""The same training by transformers, to compare with. In: what prepare.py wrote, a seed. Out: a checkpoint for measure.py.

Their tokenizer cuts the windows, their model gives the loss (over all tokens of a window, where ours takes the context's and
cls), their scheduler the learning rate. Steps, batch, rates, length and base are those of squad-minilm.toml, and there is no
dropout either.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForQuestionAnswering, AutoTokenizer, get_cosine_schedule_with_warmup

from cutaway.data import Question, QuestionSource, read_questions
from cutaway.runtime.machine import find_device
from cutaway.train.recipe import OptimiserRecipe, load_recipe

HERE = Path(__file__).parent
STRETCH = 32  # batches whose windows are sorted by length together


def main(words: Sequence[str] | None = None) -> int:
    """Train, and save."""
    arguments = parse(words)
    recipe = load_recipe(str(HERE / "squad-minilm.toml"), arguments.changes)
    training, optimiser, plan = recipe.training, recipe.optimiser, recipe.questions
    assert recipe.base is not None
    assert plan is not None
    assert training.batch_size is not None
    torch.manual_seed(recipe.seed)
    device = find_device(training.device, "training.device")
    tokenizer = AutoTokenizer.from_pretrained(recipe.base)
    model = AutoModelForQuestionAnswering.from_pretrained(
        recipe.base, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0
    )
    model = model.to(device).train()
    features = [
        feature
        for question in read_questions(QuestionSource(files=str(arguments.data / "train.json")))
        for feature in windows(tokenizer, question, training.context or 384, plan.stride, plan.max_question)
    ]
    adam = make_adam(model, optimiser)
    schedule = get_cosine_schedule_with_warmup(adam, recipe.schedule.warmup_steps, training.steps)
    batches = endless(features, training.batch_size, recipe.seed)
    for step in range(1, training.steps + 1):
        loss = model(**tokenizer.pad(next(batches), return_tensors="pt").to(device)).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), optimiser.clip or float("inf"))
        adam.step()
        schedule.step()
        adam.zero_grad()
        if step % 50 == 0:
            print(f"step {step:,} of {training.steps:,}  loss {float(loss):.4f}", flush=True)
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    print(f"Written to {arguments.out}")
    return 0


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    """The options of the command line."""
    parser = argparse.ArgumentParser(description="Train squad-minilm with transformers.")
    parser.add_argument("changes", nargs="*", metavar="key=value", help="as of `cutaway train`, for example seed=2")
    parser.add_argument("--out", type=Path, required=True, help="where the checkpoint goes")
    parser.add_argument("--data", type=Path, default=HERE / "data", help="the folder that prepare.py wrote")
    return parser.parse_args(words)


def make_adam(model: torch.nn.Module, optimiser: OptimiserRecipe) -> torch.optim.AdamW:
    """Their optimiser, with the recipe's rates; matrices decay, vectors do not."""
    matrices = [weight for weight in model.parameters() if weight.dim() > 1]
    vectors = [weight for weight in model.parameters() if weight.dim() == 1]
    return torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=optimiser.learning_rate,
        betas=(optimiser.beta1, optimiser.beta2),
        weight_decay=optimiser.weight_decay,
    )


def windows(
    tokenizer: Any, question: Question, length: int, stride: int, max_question: int
) -> Iterator[dict[str, Any]]:
    """The windows of a question with the places of its first answer, cls where it is not in them."""
    asked = tokenizer(question.text, add_special_tokens=False)["input_ids"][:max_question]
    room = length - len(asked) - 3
    found = tokenizer(
        tokenizer.decode(asked),
        question.context,
        truncation="only_second",
        max_length=length,
        stride=room - stride,
        return_overflowing_tokens=True,
        return_offsets_mapping=True,
    )
    for row, offsets in enumerate(found["offset_mapping"]):
        begin, end = places(found.sequence_ids(row), offsets, question)
        ids, types = found["input_ids"][row], found["token_type_ids"][row]
        yield {"input_ids": ids, "token_type_ids": types, "start_positions": begin, "end_positions": end}


def places(sequence: Sequence[int | None], offsets: Sequence[tuple[int, int]], question: Question) -> tuple[int, int]:
    """The first and the last token of the answer, or cls twice."""
    if not question.answers or question.answers[0].begin is None:
        return 0, 0
    first, last = question.answers[0].begin, question.answers[0].begin + len(question.answers[0].text)
    context = [place for place, text in enumerate(sequence) if text == 1]
    inside = [place for place in context if offsets[place][1] > first and offsets[place][0] < last]
    is_whole = inside and offsets[context[0]][0] <= first and offsets[context[-1]][1] >= last
    return (inside[0], inside[-1]) if is_whole else (0, 0)


def endless(features: Sequence[dict[str, Any]], batch_size: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Batches of like lengths, shuffled anew in each epoch."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        order: list[int] = torch.randperm(len(features), generator=generator).tolist()
        batches: list[list[int]] = []
        for start in range(0, len(order), STRETCH * batch_size):
            stretch = sorted(
                order[start : start + STRETCH * batch_size], key=lambda place: len(features[place]["input_ids"])
            )
            batches += [stretch[begin : begin + batch_size] for begin in range(0, len(stretch), batch_size)]
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield [features[place] for place in batches[number]]


if __name__ == "__main__":
    main()

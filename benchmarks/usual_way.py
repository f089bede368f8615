"""The usual way to fine-tune and run a span reader, as its users write it.

`datasets.map` over a labelling function in Python, everything padded to 512, the Trainer with its
default collator, and post-processing in nested loops over the best 20 starts and ends.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from numpy.typing import NDArray
from torch import nn
from transformers import Trainer, TrainingArguments

from spanwise import Example

MAX_LENGTH, STRIDE, N_BEST, MAX_ANSWER = 512, 128, 20, 30


def to_rows(examples: Iterable[Example]) -> Dataset:
    """Flat rows, as `load_dataset` gives them."""
    return Dataset.from_list(
        [
            {
                "id": example.id,
                "question": example.question,
                "context": example.context,
                "answers": {
                    "text": [gold.text for gold in example.answers or ()],
                    "answer_start": [gold.start for gold in example.answers or ()],
                },
            }
            for example in examples
        ]
    )


def make_features(rows: Dataset, tokenizer: Any) -> Dataset:
    """Windows with offsets and labels, padded to the maximum."""

    def label(batch: Mapping[str, Sequence[Any]]) -> Any:
        encoded = tokenizer(
            [question.strip() for question in batch["question"]],
            batch["context"],
            max_length=MAX_LENGTH,
            truncation="only_second",
            stride=STRIDE,
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
            padding="max_length",
        )
        owners = encoded.pop("overflow_to_sample_mapping")
        starts, ends, ids = [], [], []
        for window, offsets in enumerate(encoded["offset_mapping"]):
            owner = owners[window]
            answers = batch["answers"][owner]
            sequences = encoded.sequence_ids(window)
            null = encoded["input_ids"][window].index(tokenizer.cls_token_id)
            first, last = find_span(offsets, sequences, answers)
            starts.append(null if first is None else first)
            ends.append(null if last is None else last)
            ids.append(batch["id"][owner])
            encoded["offset_mapping"][window] = [
                offset if sequences[token] == 1 else None for token, offset in enumerate(offsets)
            ]
        encoded["start_positions"], encoded["end_positions"] = starts, ends
        encoded["example_id"] = ids
        return encoded

    return rows.map(label, batched=True, remove_columns=rows.column_names)


def find_span(
    offsets: Sequence[tuple[int, int]], sequences: Sequence[int | None], answers: Mapping[str, Any]
) -> tuple[int | None, int | None]:
    """First and last token of the first answer, or None where it is not wholly in the window."""
    if not answers["answer_start"]:
        return None, None
    start = answers["answer_start"][0]
    end = start + len(answers["text"][0])
    first = 0
    while sequences[first] != 1:
        first += 1
    last = len(sequences) - 1
    while sequences[last] != 1:
        last -= 1
    if offsets[first][0] > start or offsets[last][1] < end:
        return None, None
    top = last
    while first <= top and offsets[first][0] <= start:
        first += 1
    while offsets[last][1] >= end:
        last -= 1
    return first - 1, last + 1


def fine_tune(
    model: nn.Module, features: Dataset, folder: Path, *, epochs: int, learning_rate: float = 3e-5
) -> None:
    """The Trainer with its defaults: batches of 16 in random order, single precision."""
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=16,
        num_train_epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=0.01,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
    )
    Trainer(model=model, args=arguments, train_dataset=features).train()


def answer_questions(  # noqa: C901 - as it is usually written
    examples: Sequence[Example],
    features: Sequence[Mapping[str, Any]],
    start_logits: Sequence[NDArray[np.float32]],
    end_logits: Sequence[NDArray[np.float32]],
) -> dict[str, str]:
    """The best answer of each question, empty where null is better."""
    windows: dict[str, list[int]] = {}
    for number, feature in enumerate(features):
        windows.setdefault(feature["example_id"], []).append(number)
    answers = {}
    for example in examples:
        candidates = []
        null_score = None
        for window in windows[example.id]:
            start, end = start_logits[window], end_logits[window]
            offsets = features[window]["offset_mapping"]
            null = start[0] + end[0]
            if null_score is None or null < null_score:
                null_score = null
            for first in np.argsort(start)[-1 : -N_BEST - 1 : -1].tolist():
                for last in np.argsort(end)[-1 : -N_BEST - 1 : -1].tolist():
                    if first >= len(offsets) or last >= len(offsets):
                        continue
                    if offsets[first] is None or offsets[last] is None:
                        continue
                    if last < first or last - first + 1 > MAX_ANSWER:
                        continue
                    candidates.append(
                        {
                            "offsets": (offsets[first][0], offsets[last][1]),
                            "score": start[first] + end[last],
                        }
                    )
        candidates = sorted(candidates, key=lambda candidate: candidate["score"], reverse=True)
        best = candidates[:N_BEST]
        scores = np.array([candidate["score"] for candidate in best] or [0.0])
        weights = np.exp(scores - scores.max())
        for candidate, probability in zip(best, weights / weights.sum(), strict=False):
            candidate["text"] = example.context[candidate["offsets"][0] : candidate["offsets"][1]]
            candidate["probability"] = probability
        answers[example.id] = best[0]["text"] if best and best[0]["score"] >= null_score else ""
    return answers

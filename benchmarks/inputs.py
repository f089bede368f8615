"""What both sides are given: examples and checkpoints."""

import shutil
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import torch
from transformers import AutoConfig, BertForQuestionAnswering

from spanwise import Example, read_examples
from spanwise.checkpoints import OFFLINE_ENCODER, fetch_folder

_ROOT = Path(__file__).parent.parent
_SAMPLE = _ROOT / "src/spanwise/sample"


def read_data(folder: str | None) -> list[Example]:
    """The questions of a folder of SQuAD-form files; without one, of the sample.

    The sample is repeated up to some ten thousand questions. Every copy is numbered, so that no
    text comes twice.
    """
    if folder is not None:
        files = sorted(Path(folder).glob("*.json"))
        return [
            replace(example, id=f"{file.stem}/{example.id}")  # translations share their ids
            for file in files
            for example in read_examples(file)
        ]
    sample = read_examples([_SAMPLE / "train.json", _SAMPLE / "dev.json"])
    copies = range(10_000 // len(sample) + 1)
    return [
        replace(
            example,
            id=f"{example.id}-{copy}",
            question=f"{example.question} ({copy})",
            context=f"{example.context} ({copy})",
        )
        for copy in copies
        for example in sample
    ]


def one_answer(examples: list[Example]) -> list[Example]:
    """Leave each question its first answer, the only one that the usual way labels."""
    return [replace(example, answers=(example.answers or ())[:1]) for example in examples]


def spread_out(examples: list[Example], number: int) -> list[Example]:
    """So many questions from all over the data."""
    return [examples[n] for n in np.linspace(0, len(examples) - 1, number).astype(int)]


def long_questions(number: int, *, characters: int) -> list[Example]:
    """Questions about long texts of numbered sentences, each text another."""
    sentences = count()

    def text() -> str:
        parts, size = [], 0
        while size < characters:
            part = f"Item {next(sentences)} was found beside the gate of the old mill."
            parts.append(part)
            size += len(part) + 1
        return " ".join(parts)

    return [
        Example(id=str(n), question="What was found beside the gate?", context=text(), answers=())
        for n in range(number)
    ]


def encoder() -> Path:
    """The folder of all-MiniLM-L6-v2."""
    return fetch_folder(OFFLINE_ENCODER)


def reader() -> Path:
    """The folder of the reader in `models/baseline`, which `make reader` puts together."""
    return _ROOT / "runs/baseline"


def write_wide_reader(folder: Path) -> None:
    """Write that reader twice as wide: 6 layers of 768, the shape of DistilBERT.

    Every value of its layers stands there twice, so it gives the same logits.
    """
    narrow = BertForQuestionAnswering.from_pretrained(reader())
    config = AutoConfig.from_pretrained(
        reader(),
        hidden_size=2 * narrow.config.hidden_size,
        intermediate_size=2 * narrow.config.intermediate_size,
    )
    wide = BertForQuestionAnswering(config)
    wide.load_state_dict({name: _doubled(name, w) for name, w in narrow.state_dict().items()})
    wide.save_pretrained(folder)
    for file in reader().iterdir():
        if not (folder / file.name).exists():  # tokenizer and settings
            shutil.copy(file, folder)


def _doubled(name: str, weight: torch.Tensor) -> torch.Tensor:
    if name == "qa_outputs.bias":
        return weight
    twice = weight.repeat_interleave(2, dim=-1)
    if "embeddings" in name or weight.ndim == 1:
        wide = twice
    elif name == "qa_outputs.weight":
        wide = twice / 2
    else:
        wide = twice.repeat_interleave(2, dim=0) / 2
    # A head twice as wide makes its scores twice as large, and divides them by a root of it.
    return wide / 2**0.5 if ".query." in name else wide

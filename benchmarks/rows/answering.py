"""Answers from texts, beside the pipeline of transformers 4."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch

from benchmarks import inputs
from benchmarks.measure import Result, compare, interleave
from benchmarks.rows.shared import DisagreementError, Examples, drop
from spanwise import (
    Reader,
    ReaderSettings,
    make_windows,
    score_predictions,
)
from spanwise.batching import collate, plan_batches
from spanwise.reader import BATCH_TOKENS

PEERS = Path(__file__).parent.parent / "peers"


def answer(examples: Examples) -> list[Result]:
    """Answers from texts, beside the pipeline of transformers 4."""
    folder = inputs.reader()
    if not folder.is_dir() or not (PEERS / ".venv/installed").exists():
        raise FileNotFoundError("run 'make reader benchmarks/peers/.venv/installed' first")
    asked = inputs.spread_out([example for example in examples if example.answers], 200)
    pairs = [(example.question, example.context) for example in asked]
    readers = {
        dtype: Reader.from_pretrained(folder, device="cpu", dtype=dtype)
        for dtype in ("float32", "bfloat16")
    }
    texts: dict[str, list[str]] = {}

    def ask(dtype: str) -> None:
        found = readers[dtype].answer_many(pairs, top_k=1)
        texts[dtype] = [prediction.answers[0].text for prediction in found]

    with _pipeline(folder, pairs, readers["float32"].settings) as lines:

        def usual() -> None:
            texts["usual"] = lines()

        sides = {
            "usual": usual,
            "float32": lambda: ask("float32"),
            "bfloat16": lambda: ask("bfloat16"),
        }
        rates = interleave(sides, amount=len(pairs))
    return [
        Result(
            row="answer", what=f"answering with MiniLM, {dtype}", unit="questions/s", target=target,
            limit=_bare(readers[dtype], asked), agreement=_agree(asked, texts, dtype),
            questions=len(asked),
            **compare(rates, dtype),
        )
        for dtype, target in (("float32", 1.35), ("bfloat16", 2.2))
    ]  # fmt: skip


@contextmanager
def _pipeline(
    folder: Path, pairs: Sequence[tuple[str, str]], settings: ReaderSettings
) -> Iterator[Callable[[], list[str]]]:
    """A process that answers all pairs whenever it is called."""
    task = {
        "model": str(folder),
        "pairs": pairs,
        "threads": torch.get_num_threads(),
        "max_length": settings.window.max_length,
        "stride": settings.window.stride,
        "max_answer": settings.decode.max_answer_tokens,
    }
    command = [str(PEERS / ".venv/bin/python"), str(PEERS / "pipeline.py")]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet
    ) as process:
        into, out = cast(IO[str], process.stdin), cast(IO[str], process.stdout)

        def call() -> list[str]:
            into.write("again\n")
            into.flush()
            return list(json.loads(out.readline()))

        into.write(json.dumps(task) + "\n")
        yield call
        into.close()


def _bare(reader: Reader, asked: Examples) -> str:
    """The model alone over windows of like length, that are cut and padded already."""
    settings = reader.settings.window
    cut = make_windows(asked, reader.tokenizer, settings)
    plan = plan_batches(cut.lengths, batch_tokens=BATCH_TOKENS)
    batches = [collate(cut, rows, pad_token_id=reader.tokenizer.pad_token_id) for rows in plan]
    rates = interleave({"": lambda: drop([reader.backend(b) for b in batches])}, amount=len(asked))
    return f"{np.median(rates['']):.0f}: the bare model over sorted batches"


def _agree(asked: Examples, texts: Mapping[str, list[str]], dtype: str) -> str:
    f1 = {
        side: score_predictions(
            asked, {e.id: text for e, text in zip(asked, texts[side], strict=True)}
        ).overall["f1"]
        for side in ("usual", dtype)
    }
    equal = np.mean([a == b for a, b in zip(texts["usual"], texts[dtype], strict=True)])
    if f1[dtype] < f1["usual"] - 0.5:
        raise DisagreementError(f"F1 is {f1[dtype]:.2f}, that of the pipeline {f1['usual']:.2f}")
    return f"F1 {f1[dtype]:.1f}, the pipeline's {f1['usual']:.1f}; {equal:.0%} of texts equal"

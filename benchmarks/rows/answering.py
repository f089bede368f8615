"""Answers from texts, beside the pipeline of transformers 4."""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, cast

import numpy as np
import torch

from benchmarks import inputs
from benchmarks.measure import REPEATS, Result, compare, interleave, spread
from benchmarks.rows.shared import DisagreementError, Examples, drop
from spanwise import (
    Reader,
    ReaderSettings,
    make_windows,
    score_predictions,
)
from spanwise.backends import read_batches
from spanwise.batching import collate, plan_batches
from spanwise.exporting import export_model
from spanwise.reader import BATCH_TOKENS
from spanwise.training.fitting import computes_bf16

ROUNDS = 11  # a busy machine moves the ratios of five too far
PEERS = Path(__file__).parent.parent / "peers"
TARGETS = {"float32": 1.35, "bfloat16": 2.2, "eight bits": 4.0}
MOST_LOST = {"float32": 0.5, "bfloat16": 0.5, "eight bits": 2.0}  # F1, on 200 questions


def answer(examples: Examples) -> list[Result]:
    """Answers from texts, beside the pipeline of transformers 4."""
    return _answer(_reader(), examples, row="answer", model="MiniLM", sides=list(TARGETS))


def answer_wide(examples: Examples) -> list[Result]:
    """The same in eight bits, with layers of the width that most readers on the Hub have."""
    _reader()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        inputs.write_wide_reader(folder)
        model = "MiniLM made as wide as DistilBERT"
        return _answer(folder, examples, row="answer_wide", model=model, sides=["eight bits"])


def _answer(
    folder: Path, examples: Examples, *, row: str, model: str, sides: Sequence[str]
) -> list[Result]:
    asked = inputs.spread_out([example for example in examples if example.answers], 200)
    pairs = [(example.question, example.context) for example in asked]
    native = computes_bf16(torch.device("cpu"))  # emulated, it takes many times as long
    chosen = [side for side in sides if native or side != "bfloat16"]
    readers: dict[str, Reader] = {
        side: Reader.from_pretrained(folder, device="cpu", dtype=side)
        for side in chosen
        if side != "eight bits"
    }
    with tempfile.TemporaryDirectory() as scratch:
        exported = export_model(folder, Path(scratch) / "exported", int8=True)
        readers["eight bits"] = Reader.from_pretrained(exported.folder)
    texts: dict[str, list[str]] = {}

    def ask(side: str) -> None:
        found = readers[side].answer_many(pairs, top_k=1)
        texts[side] = [prediction.answers[0].text for prediction in found]

    with _pipeline(folder, pairs, readers["eight bits"].settings) as lines:

        def usual() -> None:
            texts["usual"] = lines()

        work = {"usual": usual} | {side: partial(ask, side) for side in chosen}
        rates = interleave(work, amount=len(pairs), repeats=ROUNDS)
    return [
        Result(
            row=row, what=f"answering with {model}, {side}", unit="questions/s",
            target=TARGETS[side], limit=_bare(readers[side], asked),
            agreement=_agree(asked, texts, side), questions=len(asked),
            **compare(rates, side),
        )
        for side in chosen
    ]  # fmt: skip


def start(_: Examples) -> list[Result]:
    """From the command to its first answer, each time in a process of its own.

    The usual way reads the same question with the float32 model that the int8 one was made from.
    """
    question, context = "Who built the mill?", "The mill was built in 1854 by Ada Green."
    folder = _reader()
    settings = Reader.from_pretrained(folder, device="cpu").settings
    seconds: list[list[float]] = [[], []]
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "mill.txt"
        file.write_text(context, encoding="utf-8")
        ask = [sys.executable, "-m", "spanwise", "answer", "-q", question, "-c", str(file)]
        for turn in range(REPEATS + 1):
            began = time.perf_counter()
            with _pipeline(folder, [(question, context)], settings) as lines:
                usual = lines()
            between = time.perf_counter()
            ours = subprocess.run(ask, check=True, stdout=subprocess.PIPE, text=True).stdout
            ended = time.perf_counter()
            if turn:  # the first reads its files from the disk
                seconds[0].append(between - began)
                seconds[1].append(ended - between)
    if "Ada Green" not in usual[0] or "Ada Green" not in ours:
        raise DisagreementError(f"the usual way says {usual[0]!r}, ours {ours!r}")
    return [
        Result(
            row="start", what="command to first answer, builtin reader", unit="seconds", target=1,
            usual=spread(seconds[0]), ours=spread(seconds[1]),
            ratio=spread([a / b for a, b in zip(*seconds, strict=True)]),
            limit="target: ours below 1.5", agreement="both name the builder", questions=1,
            source="a sentence",
        )
    ]  # fmt: skip


def _reader() -> Path:
    folder = inputs.reader()
    if not folder.is_dir() or not (PEERS / ".venv/installed").exists():
        raise FileNotFoundError("run 'make reader benchmarks/peers/.venv/installed' first")
    return folder


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
    rates = interleave(
        {"": lambda: drop([*read_batches(reader.backend, batches)])}, amount=len(asked)
    )
    return f"{np.median(rates['']):.0f}: the bare model over sorted batches"


def _agree(asked: Examples, texts: Mapping[str, list[str]], ours: str) -> str:
    f1 = {
        side: score_predictions(
            asked, {e.id: text for e, text in zip(asked, texts[side], strict=True)}
        ).overall["f1"]
        for side in ("usual", ours)
    }
    equal = np.mean([a == b for a, b in zip(texts["usual"], texts[ours], strict=True)])
    if f1[ours] < f1["usual"] - MOST_LOST[ours]:
        raise DisagreementError(f"F1 is {f1[ours]:.2f}, that of the pipeline {f1['usual']:.2f}")
    return f"F1 {f1[ours]:.1f}, the pipeline's {f1['usual']:.1f}; {equal:.0%} of texts equal"

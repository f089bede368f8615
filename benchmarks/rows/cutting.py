"""Windows: how fast they are cut, and in how much memory."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from transformers import AutoTokenizer

from benchmarks import inputs, usual_way
from benchmarks.measure import (
    REPEATS,
    Result,
    compare,
    interleave,
    peak_memory,
    spread,
)
from benchmarks.rows.shared import WINDOW, DisagreementError, Examples, drop
from spanwise import (
    PairTokenizer,
    Windows,
    make_windows,
)


def windows(examples: Examples) -> list[Result]:
    """Windows with labels."""
    examples = inputs.one_answer(examples)
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    ours = PairTokenizer.from_folder(inputs.encoder())
    rows = usual_way.to_rows(examples)
    features = usual_way.make_features(rows, theirs)
    cut = make_windows(examples, ours, WINDOW)
    check_windows(cut, features)
    texts = [*{example.context for example in examples}, *{e.question for e in examples}]
    sides: dict[str, Callable[[], None]] = {
        "usual": lambda: drop(usual_way.make_features(rows, theirs)),
        "ours": lambda: drop(make_windows(examples, ours, WINDOW)),
        "limit": lambda: drop(ours.encode_contexts(texts)),
    }
    rates = interleave(sides, amount=len(examples))
    share = np.median(rates["ours"]) / np.median(rates["limit"])
    limit = (
        f"{np.median(rates['limit']):,.0f}: each distinct text tokenised once; ours is {share:.0%}"
    )
    return [
        Result(
            row="windows", what="windows with labels", unit="questions/s", target=8, limit=limit,
            questions=len(examples),
            agreement=f"{len(cut):,} windows equal: ids, offsets, labels", **compare(rates, "ours"),
        )
    ]  # fmt: skip


def check_windows(cut: Windows, features: Any) -> None:
    """See that both sides have cut and labelled the same windows."""
    if len(cut) != len(features):
        raise DisagreementError(f"{len(cut)} windows of ours, {len(features)} of the usual way")
    for number, (begin, end) in enumerate(pairwise(cut.row_splits.tolist())):
        feature = features[number]
        places = [list(place) if place else [-1, -1] for place in feature["offset_mapping"]]
        same = (
            feature["input_ids"][: end - begin] == cut.input_ids[begin:end].tolist()
            and places[: end - begin] == cut.offsets[begin:end].tolist()
            and feature["start_positions"] == cut.first[number]
            and feature["end_positions"] == cut.last[number]
        )
        if not same:
            raise DisagreementError(f"window {number} differs: {feature['example_id']}")


def memory(_: Examples) -> list[Result]:
    """Windows of a large set."""
    size, large = 50_000, 1_000_000
    most = peak_memory("benchmarks.memory", "stream", str(large))
    return [
        _compare_memory(
            "memory", f"cutting {size:,} windows", ("stream_usual", "stream"), size,
            limit=f"{large:,} windows of ours streamed: {most:,.0f} MB (target: below 1,000)",
            questions=size, source="the sample, repeated",
        )
    ]  # fmt: skip


def evaluate(_: Examples) -> list[Result]:
    """Scoring when each question has many windows."""
    small, large = 40_000, 160_000
    less = peak_memory("benchmarks.memory", "score", str(small))
    return [
        _compare_memory(
            "evaluate", "evaluate, some 10,000 windows, no model", ("score_usual", "score"), large,
            limit=f"with a quarter of the windows ours held {less:,.0f} MB",
            questions=100, source="numbered sentences",
        )
    ]  # fmt: skip


def _compare_memory(
    row: str,
    what: str,
    jobs: tuple[str, str],
    size: int,
    *,
    limit: str,
    questions: int,
    source: str,
) -> Result:
    peaks: list[list[float]] = [[], []]
    for _ in range(REPEATS):
        for peak, job in zip(peaks, jobs, strict=True):
            peak.append(peak_memory("benchmarks.memory", job, str(size)))
    ratios = [theirs / ours for theirs, ours in zip(*peaks, strict=True)]
    return Result(
        row=row, what=what, unit="MB at the peak", usual=spread(peaks[0]), ours=spread(peaks[1]),
        ratio=spread(ratios), target=1, limit=limit, questions=questions, source=source,
        agreement="the same job, each time in a process of its own",
    )  # fmt: skip

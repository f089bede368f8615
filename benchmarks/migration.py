"""Does `scoring="transformers4"` answer as transformers 4.57.6 does? On real questions.

Needs `make reader benchmarks/peers/.venv/installed`.

Example:
    python -m benchmarks.migration --data english.json german.json --questions 250
"""

import argparse
import json
import os
import subprocess
from collections import Counter
from typing import Any

from benchmarks import inputs
from benchmarks.rows.answering import PEERS
from spanwise import pipeline, read_examples

CALLS: tuple[dict[str, Any], ...] = (
    {"handle_impossible_answer": False, "top_k": 1},
    {"handle_impossible_answer": False, "top_k": 5},
    {"handle_impossible_answer": True, "top_k": 1},
    {"handle_impossible_answer": True, "top_k": 5},
    {"align_to_words": False, "top_k": 5, "max_seq_len": 128, "doc_stride": 32},
)


def main() -> None:
    """Ask both and count where they agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", nargs="+", required=True, help="files of questions")
    parser.add_argument("--questions", type=int, default=250, help="of each file")
    flags = parser.parse_args()
    examples = [
        example
        for file in flags.data
        for example in inputs.spread_out(list(read_examples(file)), flags.questions)
    ]
    pairs = [(example.question, example.context) for example in examples]
    expected = _ask_peer(pairs)
    ours = pipeline(model=inputs.reader(), scoring="transformers4", device="cpu")
    for parameters, results in zip(CALLS, expected, strict=True):
        counts: Counter[str] = Counter()
        for (question, context), wanted in zip(pairs, results, strict=True):
            verdict = "it crashed"
            if wanted is not None:
                found = ours(question=question, context=context, **parameters)
                verdict = _compare(found, wanted)
            counts[verdict] += 1
            if verdict == "differ":
                print(f"{question!r}: {found} where {wanted} was expected")
        print(f"{parameters}: {dict(counts)}", flush=True)


def _ask_peer(pairs: list[tuple[str, str]]) -> list[list[Any]]:
    task = {"model": str(inputs.reader()), "pairs": pairs, "calls": CALLS}
    command = [str(PEERS / ".venv/bin/python"), str(PEERS / "answers.py")]
    quiet = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        command, input=json.dumps(task), stdout=subprocess.PIPE, text=True, env=quiet, check=True
    )
    results: list[list[Any]] = json.loads(done.stdout)
    return results


def _compare(found: Any, wanted: Any) -> str:
    if isinstance(found, dict) != isinstance(wanted, dict):
        return "differ"
    ours, theirs = ([one] if isinstance(one, dict) else one for one in (found, wanted))
    if any(answer["score"] > 1 for answer in theirs):
        return "it exceeds 1"
    if len(ours) != len(theirs):
        return "differ"
    for one, other in zip(ours, theirs, strict=True):
        if abs(one["score"] - other["score"]) > 1e-4:
            return "differ"
        if any(one[name] != other[name] for name in ("answer", "start", "end")):
            # Where two scores are equal but for rounding, either order is right.
            near = [abs(other["score"] - x["score"]) < 1e-6 for x in theirs if x is not other]
            return "equal but for the order of ties" if any(near) else "differ"
    return "equal"


if __name__ == "__main__":
    main()

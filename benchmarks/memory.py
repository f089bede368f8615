"""One job in a process of its own, so that its peak memory can be seen: `memory JOB SIZE`.

What a job does not need is not imported.
"""

import sys
from itertools import islice

import numpy as np

from benchmarks import inputs
from spanwise import FakeBackend, PairTokenizer, Reader, ReaderSettings, WindowSettings, evaluate
from spanwise.windows import stream_windows

WINDOW = WindowSettings(max_length=512, stride=128)


def stream(windows: int) -> None:
    """Cut that many windows and let each go."""
    tokenizer = PairTokenizer.from_folder(inputs.encoder())
    cut = 0
    examples = (example for _ in range(windows) for example in inputs.read_data(None))
    for part in stream_windows(islice(examples, windows), tokenizer, WINDOW):
        cut += len(part)
    if cut < windows:
        raise RuntimeError(f"{cut} windows were cut, not {windows}")


def stream_usual(windows: int) -> None:
    """The same through `datasets.map`."""
    from transformers import AutoTokenizer

    from benchmarks import usual_way

    examples = inputs.read_data(None)
    rows = [examples[n % len(examples)] for n in range(windows)]
    usual_way.make_features(
        usual_way.to_rows(rows), AutoTokenizer.from_pretrained(str(inputs.encoder()))
    )


def score(characters: int) -> None:
    """Evaluate 100 questions, each about a text of so many characters."""
    tokenizer = PairTokenizer.from_folder(inputs.encoder())
    settings = ReaderSettings(window=WINDOW)
    reader = Reader(FakeBackend({"the old mill": 9.0}, tokenizer), tokenizer, settings)
    evaluate(reader, inputs.long_questions(100, characters=characters))


def score_usual(characters: int) -> None:
    """The same with all logits kept."""
    from transformers import AutoTokenizer

    from benchmarks import usual_way

    examples = inputs.long_questions(100, characters=characters)
    features = usual_way.make_features(
        usual_way.to_rows(examples), AutoTokenizer.from_pretrained(str(inputs.encoder()))
    )
    logits = np.zeros((2, len(features), usual_way.MAX_LENGTH), np.float32)
    usual_way.answer_questions(examples, features, *logits)


if __name__ == "__main__":
    globals()[sys.argv[1]](int(sys.argv[2]))

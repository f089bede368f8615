"""`demo`: the main job from end to end on the sample, offline."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from spanwise.checkpoints import BUILTIN
from spanwise.cli import data, reading, training
from spanwise.cli.terminal import stderr, stdout

_QUESTIONS = ("handbook-oven-05-8", "science-bees-03-7", "handbook-oven-01-3")

_EXAMPLES = """\b
Examples:
  spanwise demo
  spanwise demo --out runs/demo
"""


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(epilog=_EXAMPLES)(demo)


def demo(
    out: Annotated[
        Path | None, typer.Option(help="Keep the run folder here; else it is thrown away.")
    ] = None,
) -> None:
    """Audit the sample, adapt the builtin reader to it, evaluate it, and answer three questions."""
    from spanwise.training import FitConfig, TrainConfig

    fit = FitConfig(epochs=3, learning_rate=5e-5, max_minutes=3.0)
    sample = Path(__file__).parent.parent / "sample"
    train, dev = str(sample / "train.json"), str(sample / "dev.json")
    with tempfile.TemporaryDirectory() as scratch:
        folder = str(out or Path(scratch) / "reader")
        _title("audit")
        data.audit([train, dev], model=BUILTIN, strict=True)
        _title("evaluate the builtin reader")
        reading.evaluate(BUILTIN, [dev])
        _title("train")
        training.run(TrainConfig(train=(train,), dev=(dev,), out=folder, fit=fit))
        _title("evaluate the adapted reader")
        reading.evaluate(folder, [dev])
        _title("answer")
        _answer_three(folder, dev)


def _answer_three(folder: str, dev: str) -> None:
    from spanwise.corpus import read_examples
    from spanwise.reader import Reader

    examples = {example.id: example for example in read_examples(dev)}
    reader = Reader.from_pretrained(folder)
    for key in _QUESTIONS:
        example = examples[key]
        golds = " or ".join(repr(gold.text) for gold in example.answers or ())
        stdout.print(f"\n{example.question}", style="bold cyan", markup=False)
        prediction = reader.answer(example.question, example.context, top_k=1)
        threshold = reader.settings.calibration.threshold
        reading.show_prediction(prediction, [(example.title, example.context)], threshold=threshold)
        stdout.print(f"gold: {golds or 'not in this text'}", style="dim", markup=False)


def _title(text: str) -> None:
    stderr.rule(text)

"""A reader that makes every kind of error, and what a browser makes of a page about it."""

from collections.abc import Sequence

from spanwise import FakeBackend, Reader
from spanwise.evaluation import report_predictions
from spanwise.reporting import RunLog, evaluation_page
from spanwise.schema import (
    Answer,
    Calibration,
    Example,
    Gold,
    Prediction,
    ReaderSettings,
    Report,
    WindowSettings,
)
from spanwise.windows import PairTokenizer
from tests.conftest import make_tokenizer

SETTINGS = ReaderSettings(
    window=WindowSettings(max_length=24, stride=6, max_question_tokens=8),
    calibration=Calibration(temperature=2.0, threshold=0.5, fitted_on="tiny dev"),
)
TOKENIZER = PairTokenizer(make_tokenizer(), {"cls_token": "[CLS]", "pad_token": "[PAD]"})
CONTEXT = "🦊 The red lamp hangs on the old tower, and the blue valve is under the bridge."
HOSTILE = (
    '</script><script>alert("run")</script><img src=x onerror=alert(2)><!--<script>'
    "\x00\x07\u2028\u202e &amp; ]]> ${1} ` \\ <b>bold</b>"
)
SURROGATE = "\ud800"  # half a character, which JSON can hold and UTF-8 cannot


def make_example(key: str, gold: str = "", *, context: str = CONTEXT, **more: str) -> Example:
    """A question whose answer is the first place of a text; "" for none."""
    start = context.index(gold)
    answers = (Gold(text=gold, start=start, end=start + len(gold)),) if gold else ()
    asked = {"question": f"which {key} ?", "title": "Towers"} | more
    return Example(id=key, context=context, answers=answers, **asked)


def make_prediction(example: Example, text: str, *, null: float) -> Prediction:
    """A prediction of one span; abstaining where null is more probable than a half."""
    start = example.context.index(text)
    answer = Answer(text=text, start=start, end=start + len(text), score=2.0, probability=1 - null)
    return Prediction(
        id=example.id,
        answers=(answer,),
        null_score=2.0,
        null_probability=null,
        best=answer if null <= 0.5 else None,
        calibrated=True,
    )


def make_report(examples: Sequence[Example], predictions: Sequence[Prediction]) -> Report:
    """The report of what was predicted."""
    return report_predictions(examples, predictions, settings=SETTINGS, language="en")


EXAMPLES = (
    make_example("wrong", "red lamp"),
    make_example("boundary", "red lamp"),
    make_example("unanswerable"),
    make_example("missed", "blue valve"),
    make_example("right", "blue valve"),
    make_example("rightly-abstained"),
)
PREDICTIONS = tuple(
    make_prediction(example, text, null=null)
    for example, text, null in zip(
        EXAMPLES,
        ("blue valve", "lamp hangs", "old tower", "bridge", "blue valve", "tower"),
        (0.1, 0.2, 0.3, 0.8, 0.05, 0.9),
        strict=True,
    )
)
OUTCOMES = (
    *("wrong span", "boundary off", "answered the unanswerable", "missed the answerable"),
    *("right", "right"),
)
LOG = RunLog(losses=((0.5, 2.0), (1.0, 1.5), (2.0, 1.0)), scores=((1.0, 40, 50), (2.0, 45, 55)))


def make_page(
    examples: Sequence[Example] = EXAMPLES,
    predictions: Sequence[Prediction] = PREDICTIONS,
    *,
    model: str = "runs/tiny",
    log: RunLog | None = None,
) -> bytes:
    """The page about predictions."""
    report = make_report(examples, predictions)
    return evaluation_page(report, examples, TOKENIZER, model=model, data=["tiny.json"], log=log)


def make_reader() -> Reader:
    """A reader that finds two things."""
    backend = FakeBackend({"red lamp": 8.0, "blue valve": 6.5}, TOKENIZER, null=2.0)
    return Reader(backend, TOKENIZER, SETTINGS)

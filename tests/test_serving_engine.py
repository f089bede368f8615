"""Jobs share a model's batches, and nobody's answer or time depends on who else asks."""

import time
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import numpy as np
import pytest

from spanwise.backends import FakeBackend
from spanwise.batching import collate, join, plan_batches
from spanwise.pipelines import pipeline
from spanwise.reader import Reader
from spanwise.schema import Batch, Logits, Prediction
from spanwise.serving.engine import BackendError, BatchRun, Engine, Job
from spanwise.windows import make_windows
from tests.conftest import make_colours
from tests.serving_shared import SCORES, SETTINGS, TOKENIZER, Slow, fake_reader, slow

EXAMPLES = make_colours(40, seed=3, unanswerable=0.3)
PAIRS = [
    (example.question, " ".join([example.context] * (1 + number % 5)))
    for number, example in enumerate(EXAMPLES)
]


@contextmanager
def started(reader: Reader, *, jobs: int = 64, **options: object) -> Iterator[Engine]:
    engine = Engine(reader, jobs=jobs, **options)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        if isinstance(reader.backend, Slow):
            reader.backend.free.set()
        engine.close()


def ask(engine: Engine, question: str, context: str) -> Job[Prediction]:
    return engine.submit(lambda reader: reader.answer(question, context))


def wait_for(engine: Engine, parts: int) -> None:
    """Until so many batches of jobs are in the queue."""
    deadline = time.monotonic() + 10
    while len(engine._parts) != parts:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def together(reader: Reader) -> list[Prediction]:
    """What each pair is answered when all are asked at once."""
    with started(reader) as engine:
        jobs = [ask(engine, *pair) for pair in PAIRS]
        return [job.result.result(20) for job in jobs]


# -- what is answered ----------------------------------------------------------------------------


@pytest.mark.parametrize("batch_tokens", [1, 50, 96, 4096])
def test_jobs_are_answered_as_they_would_be_alone(batch_tokens: int) -> None:
    reader = fake_reader(null=5.5, batch_tokens=batch_tokens)
    assert together(reader) == [fake_reader(null=5.5).answer(*pair) for pair in PAIRS]


def test_torch_answers_the_same_in_any_company(encoder: Path) -> None:
    import torch
    from transformers import AutoModelForQuestionAnswering

    torch.manual_seed(0)
    model = AutoModelForQuestionAnswering.from_pretrained(encoder)
    reader = Reader.from_model(model, TOKENIZER, settings=SETTINGS, device="cpu")
    for alone, one in zip([reader.answer(*p) for p in PAIRS], together(reader), strict=True):
        assert [answer.score for answer in one.answers] == pytest.approx(
            [answer.score for answer in alone.answers], abs=1e-5
        )
        assert one.null_probability == pytest.approx(alone.null_probability, abs=1e-5)


@pytest.mark.slow
def test_eight_bits_answer_the_same_to_the_bit_in_any_company(
    encoder: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForQuestionAnswering

    from spanwise.checkpoints import write_settings
    from spanwise.exporting import export_model

    source = tmp_path / "reader"
    AutoModelForQuestionAnswering.from_pretrained(encoder).save_pretrained(source)
    TOKENIZER.save(source)
    write_settings(source, SETTINGS)
    export_model(source, tmp_path / "out", int8=True)
    reader = Reader.from_pretrained(tmp_path / "out")
    assert together(reader) == [reader.answer(*pair) for pair in PAIRS]


def test_windows_may_be_as_long_as_an_exports_positions() -> None:
    reader = fake_reader()
    for export, longest in ({"positions": 40}, 40), ({}, 24), ({"positions": None}, 24):
        settings = replace(reader.settings, export=export)
        with started(Reader(reader.backend, TOKENIZER, settings)) as engine:
            job = engine.submit(lambda ours: ours.backend.longest)  # type: ignore[attr-defined]
            assert job.result.result(20) == longest


def test_a_job_may_be_any_function_of_a_reader() -> None:
    reader = fake_reader()
    with started(reader) as engine:
        asked = [{"question": question, "context": context} for question, context in PAIRS[:5]]
        job = engine.submit(lambda ours: pipeline(model=ours)(asked))
        assert job.result.result(20) == pipeline(model=reader)(asked)
        failing = engine.submit(lambda ours: ours.answer("which ?", " "))
        with pytest.raises(ValueError, match="' ' holds nothing to read"):
            failing.result.result(20)


def test_a_model_without_a_limit_is_given_windows_as_long_as_it_was_trained_on() -> None:
    with started(fake_reader()) as engine:
        longest = engine.submit(lambda reader: getattr(reader.backend, "longest")).result  # noqa: B009
        assert longest.result(20) == SETTINGS.window.max_length


# -- when ----------------------------------------------------------------------------------------


def test_batches_form_while_the_model_is_busy() -> None:
    reader = fake_reader(batch_tokens=1000)
    backend = slow(reader)
    with started(reader) as engine:
        backend.hold()
        first = ask(engine, *PAIRS[0])
        assert backend.began.wait(10)
        others = [ask(engine, "which ?", "the red lamp") for _ in range(12)]
        wait_for(engine, 12)
        backend.free.set()
        for job in [first, *others]:
            job.result.result(20)
    assert [len(batch.example) for batch in backend.batches] == [1, 12]


def test_what_was_given_up_is_never_read() -> None:
    reader = fake_reader()
    backend = slow(reader)
    with started(reader) as engine:
        backend.hold()
        first = ask(engine, "which ?", "the red lamp")
        assert backend.began.wait(10)
        dropped, kept = ask(engine, "which ?", "the river"), ask(engine, "which ?", "the valve")
        wait_for(engine, 2)
        dropped.cancel()
        backend.free.set()
        first.result.result(20)
        kept.result.result(20)
        with pytest.raises(CancelledError):
            dropped.result.result(20)
    assert backend.has_read("valve")
    assert not backend.has_read("river")


def test_a_long_text_that_is_given_up_is_read_no_further() -> None:
    reader = fake_reader()
    backend = slow(reader)
    with started(reader) as engine:
        backend.hold()
        job = ask(engine, "which ?", "the old river is quiet . " * 500)
        assert backend.began.wait(10)
        job.cancel()
        backend.free.set()
        ask(engine, "which ?", "the valve").result.result(20)
    assert len(backend.batches) == 2


def test_a_long_text_lets_others_pass() -> None:
    reader = fake_reader()
    backend = slow(reader)
    with started(reader) as engine:
        backend.hold()
        long = ask(engine, "which ?", "the old river is quiet . " * 500)
        assert backend.began.wait(10)
        short = ask(engine, "which ?", "the valve")
        wait_for(engine, 1)
        backend.free.set()
        short.result.result(20)
        assert not long.result.done()
        long.result.result(20)
    assert any((batch.input_ids == _token("valve")).any() for batch in backend.batches[:3])
    assert len(backend.batches) > 20


def test_of_short_jobs_the_first_is_read_first() -> None:
    reader = fake_reader(batch_tokens=8)  # one of these windows
    backend = slow(reader)
    words = ["river", "valve", "cable", "tower", "bridge", "market"]
    with started(reader) as engine:
        backend.hold()
        jobs = [ask(engine, "which ?", "the lamp")]
        assert backend.began.wait(10)
        for number, word in enumerate(words):
            jobs.append(ask(engine, "which ?", f"the {word}"))
            wait_for(engine, number + 1)
        backend.free.set()
        for job in jobs:
            job.result.result(20)
    for word, batch in zip(["lamp", *words], backend.batches, strict=True):
        assert (batch.input_ids == _token(word)).any()


def _token(word: str) -> int:
    (token,) = TOKENIZER.tokenizer.encode(word, add_special_tokens=False).ids
    return token


def test_what_is_read_is_reported() -> None:
    runs: list[BatchRun] = []
    reader = fake_reader()
    with started(reader, watch=runs.append) as engine:
        ask(engine, "which ?", "the red lamp").result.result(20)
    (run,) = runs
    assert (run.windows, run.tokens) == (1, slow(reader).batches[0].input_ids.size)
    assert len(run.waited) == 1
    assert 0 <= run.waited[0] < 10


# -- failures ------------------------------------------------------------------------------------


class _Refuses:
    """A backend that fails on every batch that holds the word "river"."""

    def __init__(self) -> None:
        self._backend = FakeBackend(SCORES, TOKENIZER)

    def __call__(self, batch: Batch) -> Logits:
        if (batch.input_ids == _token("river")).any():
            raise RuntimeError("out of order")
        return self._backend(batch)


def test_a_failure_is_of_those_whose_windows_failed() -> None:
    backend = Slow(_Refuses())
    reader = Reader(backend, TOKENIZER, SETTINGS, batch_tokens=1000)
    with started(reader) as engine:
        backend.hold()
        jobs = [ask(engine, "which ?", "the red lamp")]
        assert backend.began.wait(10)
        jobs += [ask(engine, "which ?", f"the {word}") for word in ("river", "valve", "cable")]
        wait_for(engine, 3)
        backend.free.set()
        with pytest.raises(BackendError, match="the model failed on 1 windows") as caught:
            jobs.pop(1).result.result(20)
        assert str(caught.value.__cause__) == "out of order"
        for job in jobs:
            job.result.result(20)


def test_many_that_failed_together_are_found_and_the_model_lives_on() -> None:
    backend = Slow(_Refuses())
    reader = Reader(backend, TOKENIZER, SETTINGS, batch_tokens=100_000)
    with started(reader, jobs=700) as engine:
        backend.hold()
        first = ask(engine, "which ?", "the red lamp")
        assert backend.began.wait(10)
        words = ["valve"] * 600
        words[123] = "river"
        jobs = [ask(engine, "which ?", f"the {word}") for word in words]
        wait_for(engine, 600)
        backend.free.set()
        failed = [job for job in jobs if job.result.exception(20) is not None]
        assert failed == [jobs[123]]
        assert len(backend.batches) < 30  # twice the logarithm, not the number

        backend.hold()
        jobs = [ask(engine, "which ?", "the valve")]
        assert backend.began.wait(10)
        jobs += [ask(engine, "which ?", "the river") for _ in range(600)]
        wait_for(engine, 600)
        backend.free.set()
        assert [type(job.result.exception(20)) for job in jobs[1:]] == [BackendError] * 600
        assert ask(engine, "which ?", "the lamp").result.result(20).answers
        first.result.result(20)


def test_closing_gives_up_what_waits() -> None:
    reader = fake_reader()
    backend = slow(reader)
    engine = Engine(reader, jobs=2)
    backend.hold()
    reading = ask(engine, "which ?", "the lamp")
    assert backend.began.wait(10)
    in_queue, not_begun = ask(engine, *PAIRS[1]), ask(engine, *PAIRS[2])
    wait_for(engine, 1)
    closing = Thread(target=engine.close)
    closing.start()
    for job in (in_queue, not_begun):
        with pytest.raises(CancelledError):
            job.result.result(20)
    backend.free.set()
    closing.join()
    assert reading.result.result().answers
    with pytest.raises(RuntimeError, match="cannot schedule new futures"):
        ask(engine, *PAIRS[0])


# -- joined batches ------------------------------------------------------------------------------


def test_joined_rows_are_those_of_one_collation() -> None:
    windows = make_windows(EXAMPLES, TOKENIZER, SETTINGS.window)
    (whole,) = plan_batches(windows.lengths)
    expected = collate(windows, whole, pad_token_id=7)
    singles = [(collate(windows, [row], pad_token_id=9), 0) for row in whole]
    joined = join(singles, pad_token_id=7)
    for name, values in vars(expected).items():
        np.testing.assert_array_equal(getattr(joined, name), values, err_msg=name)
    assert replace(joined).input_ids.dtype == np.int32
    assert join([], pad_token_id=0).input_ids.shape == (0, 0)

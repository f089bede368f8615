"""The forms of the old call, its parameters and its results.

This module knows nothing about how spans are found or a reader is made.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import islice
from numbers import Integral
from types import GeneratorType
from typing import Any, TypeGuard

from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.pipelines import transformers4
from spanwise.pipelines.words import widen_to_words
from spanwise.reader import Reader
from spanwise.schema import Prediction, WindowSettings

logger = logging.getLogger("spanwise")

Result = dict[str, Any]
"""`score`, `start` and `end` in characters of the context, `answer`."""

SCORINGS = ("spanwise", "transformers4")

TASK = "question-answering"

# Arguments that had to do with speed alone, and have no part in it here.
_IDLE = ("num_workers", "padding")


@dataclass(frozen=True, kw_only=True)
class _Parameters:
    """What a call may say, with the old defaults."""

    top_k: int = 1
    doc_stride: int | None = None
    max_answer_len: int = 15
    max_seq_len: int | None = None
    max_question_len: int = 64
    handle_impossible_answer: bool = False
    align_to_words: bool = True
    batch_size: int | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, all of it at once."""
        least = {
            "top_k": 1,
            "doc_stride": 0,
            "max_answer_len": 1,
            "max_seq_len": 1,
            "max_question_len": 1,
            "batch_size": 1,
        }
        values: dict[str, Any] = {name: getattr(self, name) for name in least}
        problems = [
            f"{name} is {value!r}: it must be a whole number of at least {least[name]}"
            for name, value in values.items()
            if value is not None and (not isinstance(value, Integral) or value < least[name])
        ]
        if problems:
            raise ConfigError(problems)


_NAMES = {field.name for field in fields(_Parameters)}


class QuestionAnsweringPipeline:
    """Answers as the removed pipeline did, with the scores of a `Reader` by default.

    Example:
        ```python
        qa = pipeline("question-answering", model="deepset/tinyroberta-squad2")
        qa(question="Where do I live?", context="My name is Wolfgang and I live in Berlin")
        # {'score': …, 'start': 34, 'end': 40, 'answer': 'Berlin'}
        ```

    Args:
        reader: answers.
        scoring: as in `pipeline`.
        **parameters: as in `pipeline`.

    Raises:
        ConfigError: an unknown scoring or parameter.
    """

    task = TASK

    def __init__(self, reader: Reader, *, scoring: str = "spanwise", **parameters: Any) -> None:
        if scoring not in SCORINGS:
            raise ConfigError(f"scoring is {scoring!r}; it must be one of {', '.join(SCORINGS)}")
        self.reader = reader
        self.scoring = scoring
        self._parameters = _take(_Parameters(), parameters)
        self._cutter = transformers4.Cutter(reader.tokenizer)

    @staticmethod
    def create_sample(question: str | list[str], context: str | list[str]) -> Any:
        """Pair a question with its context, or several with theirs, as the call takes them."""
        return _items((), {"question": question, "context": context})

    def predict(self, X: Any) -> Any:  # noqa: N803 - as scikit-learn calls it, and the old one did
        """As a call with the questions alone."""
        return self(X)

    transform = predict

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one question or many.

        Args:
            *args: a question and a context; or a dict with both, or a list or generator of such.
                A generator is read on by `batch_size` questions, or one, at a time.
            **kwargs: `question=` and `context=`, each one string or a list, one context serving
                all questions; and parameters as in `pipeline`, for this call alone.

        Returns:
            For one question a dict with `score`, `start`, `end` and `answer`; with `top_k` above 1
            a list of them; for a list of questions a list of that, for a generator an iterator.

        Raises:
            ConfigError: an unknown parameter, or a value that cannot work.
            DataError: a question or context that is empty, blank or no string.
        """
        inputs: dict[str, Any] = {
            name: kwargs.pop(name) for name in ("question", "context") if name in kwargs
        }
        for name in ("X", "data"):
            if name in kwargs:
                args = (kwargs.pop(name),)
        parameters = _take(self._parameters, kwargs)
        items = _items(args, inputs)
        if isinstance(items, GeneratorType):
            return self._stream(items, parameters)
        alone = isinstance(items, Mapping)
        pairs = [
            _pair_of(item, "" if alone else f"[{number}]")
            for number, item in enumerate([items] if alone else items)
        ]
        found = self._answer(pairs, parameters)
        if alone or (self.scoring == "transformers4" and len(found) == 1):
            return found[0]
        return found

    def _stream(self, items: Iterator[Any], parameters: _Parameters) -> Iterator[Any]:
        while pairs := [_pair_of(item) for item in islice(items, parameters.batch_size or 1)]:
            yield from self._answer(pairs, parameters)

    def _answer(self, pairs: Sequence[tuple[str, str]], parameters: _Parameters) -> list[Any]:
        if self.scoring == "transformers4":
            return list(self._answer_as_before(pairs, parameters))
        reader = self._reader(parameters)
        predictions = reader.answer_many(pairs)
        results = [
            self._results(prediction, context, parameters)
            for prediction, (_, context) in zip(predictions, pairs, strict=True)
        ]
        return [result[0] if parameters.top_k == 1 else result for result in results]

    def _reader(self, parameters: _Parameters) -> Reader:
        window = self._window(parameters)
        settings = self.reader.settings
        decode = replace(settings.decode, max_answer_tokens=parameters.max_answer_len)
        return Reader(
            self.reader.backend,
            self.reader.tokenizer,
            replace(settings, window=window, decode=decode),
            batch_tokens=(
                self.reader.batch_tokens
                if parameters.batch_size is None
                else parameters.batch_size * window.max_length
            ),
        )

    def _window(self, parameters: _Parameters) -> WindowSettings:
        window = self.reader.settings.window
        length, stride = window.max_length, window.stride
        if parameters.max_seq_len is not None:
            length = self._cut(parameters.max_seq_len)
            stride = min(length // 2, 128)
        if parameters.doc_stride is not None:
            stride = parameters.doc_stride
        return replace(
            window,
            max_length=length,
            stride=stride,
            max_question_tokens=parameters.max_question_len,
        )

    def _results(
        self, prediction: Prediction, context: str, parameters: _Parameters
    ) -> list[Result]:
        """The answers of a question, at least one."""
        spans = [(answer.start, answer.end) for answer in prediction.answers]
        if parameters.align_to_words:
            spans = widen_to_words(context, spans, self.reader.tokenizer)
        results: dict[tuple[int, int], Result] = {}
        for answer, (start, end) in zip(prediction.answers, spans, strict=True):
            if (start, end) in results:
                # They were different spans, and became one: so it is either's probability.
                results[start, end]["score"] += answer.probability
            else:
                results[start, end] = _result(answer.probability, start, end, context[start:end])
        found = sorted(results.values(), key=lambda result: -result["score"])
        if parameters.handle_impossible_answer:
            null = _result(prediction.null_probability, 0, 0, "")
            # Which of them is first was judged at the threshold, which is seldom one half.
            first = [null] if prediction.best is None else found[:1]
            rest = found if prediction.best is None else [*found[1:], null]
            found = first + sorted(rest, key=lambda result: -result["score"])
        return found[: parameters.top_k] or [_result(0.0, 0, 0, "")]

    def _answer_as_before(
        self, pairs: Sequence[tuple[str, str]], parameters: _Parameters
    ) -> Iterator[Any]:
        """For each a dict where there is one answer, whatever `top_k` was, as it was then."""
        tokenizer = self.reader.tokenizer
        longest = min(tokenizer.config.get("model_max_length") or 384, 384)
        max_seq_len = self._cut(parameters.max_seq_len or longest)
        stride = parameters.doc_stride
        options = transformers4.Options(
            top_k=parameters.top_k,
            max_seq_len=max_seq_len,
            doc_stride=min(max_seq_len // 2, 128) if stride is None else stride,
            max_answer_len=parameters.max_answer_len,
            handle_impossible_answer=parameters.handle_impossible_answer,
            align_to_words=parameters.align_to_words,
        )
        for found in transformers4.read(
            pairs, options, backend=self.reader.backend, cutter=self._cutter
        ):
            yield found[0] if len(found) == 1 else found

    def _cut(self, length: int) -> int:
        """The window length asked for, as far as the model has positions for it."""
        settings = self.reader.settings
        exported = settings.export.get("positions", settings.window.max_length)
        known = getattr(self.reader.backend, "longest", exported)
        if not isinstance(known, int) or length <= known:
            return length
        logger.info("max_seq_len %d is cut to the model's %d", length, known)
        return known


def _take(defaults: _Parameters, changes: Mapping[str, Any]) -> _Parameters:
    changes = {name: value for name, value in changes.items() if name not in _IDLE}
    if "topk" in changes:
        changes.setdefault("top_k", changes.pop("topk"))
    unknown = sorted({*changes} - _NAMES)
    if unknown:
        raise ConfigError(
            f"{name} is unknown; known are question, context, {', '.join(sorted(_NAMES))}"
            for name in unknown
        )
    return replace(
        defaults, **{name: value for name, value in changes.items() if value is not None}
    )


def _items(args: tuple[Any, ...], inputs: Mapping[str, Any]) -> Any:
    """One question as a dict, or many as a list or a generator of such."""
    if not args:
        return _apart(inputs)
    if inputs:
        raise ConfigError("give question= and context=, or a question and a context, or dicts")
    if len(args) > 1:
        both = len(args) == 2 and not isinstance(args[0], Mapping)
        return {"question": args[0], "context": args[1]} if both else list(args)
    (items,) = args
    if isinstance(items, Mapping):
        return _apart(items)
    if hasattr(items, "__getitem__") and not hasattr(items, "__iter__"):
        # A Dataset of torch, which need not say where it ends when it is gone through.
        return [items[number] for number in range(len(items))]
    if isinstance(items, str) or not isinstance(items, Iterable):
        return [items]
    return items if isinstance(items, GeneratorType) else list(items)


def _apart(item: Mapping[str, Any]) -> Any:
    """One question as it is; of columns, as a slice of a data set has them, a list of questions."""
    question, context = item.get("question"), item.get("context")
    if not _is_column(question):
        return item
    questions = list(question)
    contexts = list(context) if _is_column(context) else [context] * len(questions)
    if len(contexts) != len(questions):
        raise ConfigError(
            f"{len(questions)} questions and {len(contexts)} contexts: give as many of both, or "
            "one context for all"
        )
    pairs = zip(questions, contexts, strict=True)
    return [{"question": asked, "context": text} for asked, text in pairs]


def _is_column(value: Any) -> TypeGuard[Iterable[Any]]:
    """Whether it is many values: a list, or a column of a data set or of a frame of pandas."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes | Mapping)


def _pair_of(item: Any, place: str = "") -> tuple[str, str]:
    if not isinstance(item, Mapping) or not {"question", "context"} <= item.keys():
        message = f"{item!r:.80} is no dict with the keys 'question' and 'context'"
        raise FormatError([Problem(file="pipeline", place=place, id=None, message=message)])
    for name in ("question", "context"):
        if not isinstance(item[name], str) or not item[name].strip():
            message = f"{name} is {item[name]!r:.80}; give some text"
            if name == "context" and _is_column(item[name]):
                many = len(list(item[name]))
                message = (
                    f"context is a list of {many} beside one question; give as many questions, or "
                    "ask Reader.answer, which takes several texts"
                )
            raise FormatError([Problem(file="pipeline", place=place, id=None, message=message)])
    return item["question"], item["context"]


def _result(score: float, start: int, end: int, answer: str) -> Result:
    return {"score": score, "start": start, "end": end, "answer": answer}

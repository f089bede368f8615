"""`pipeline("question-answering")`: the forms of its call, its parameters and its results.

This module knows nothing about how spans are found.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from types import GeneratorType
from typing import Any

from spanwise.checkpoints import fetch_folder
from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.pipelines import transformers4
from spanwise.pipelines.words import widen_to_words
from spanwise.reader import Reader
from spanwise.schema import Prediction, WindowSettings
from spanwise.windows import PairTokenizer

logger = logging.getLogger("spanwise")

Result = dict[str, Any]
"""`score`, `start` and `end` in characters of the context, `answer`."""

SCORINGS = ("spanwise", "transformers4")

_TASK = "question-answering"


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

    def __post_init__(self) -> None:
        """Refuse what cannot work, all of it at once."""
        problems = [
            f"{name} is {value!r}: it must be a whole number of at least {least}"
            for name, value, least in (
                ("top_k", self.top_k, 1),
                ("doc_stride", self.doc_stride, 0),
                ("max_answer_len", self.max_answer_len, 1),
                ("max_seq_len", self.max_seq_len, 1),
                ("max_question_len", self.max_question_len, 1),
            )
            if value is not None and (not isinstance(value, int) or value < least)
        ]
        if problems:
            raise ConfigError(problems)


_NAMES = {field.name for field in fields(_Parameters)}


def pipeline(  # noqa: PLR0913 - the old call's
    task: str = _TASK,
    model: Any = None,
    *,
    tokenizer: Any = None,
    device: Any = None,
    batch_size: int | None = None,
    scoring: str = "spanwise",
    revision: str | None = None,
    token: str | None = None,
    dtype: str = "float32",
    **parameters: Any,
) -> "QuestionAnsweringPipeline":
    """Make what `transformers.pipeline("question-answering", …)` made.

    Args:
        task: "question-answering"; the others are still in transformers.
        model: folder or Hub id of a model that reads spans, a `Reader`, or a transformers model,
            which needs `tokenizer` as well.
        tokenizer: folder, or a fast tokenizer of transformers; None: the model's own.
        device: "cpu", "cuda:1", …, or as a number: -1 for the processor.
        batch_size: windows that are read at once; speed and memory depend on it, no answer. None:
            what suits the device.
        scoring: "spanwise" for probabilities over all windows, "transformers4" for the scores of
            transformers 4.57.6.
        revision: branch, tag or commit on the Hub.
        token: for private and gated models on the Hub.
        dtype: number format of the weights.
        **parameters: of each call, unless it says otherwise: `top_k`, `doc_stride`,
            `max_answer_len`, `max_seq_len`, `max_question_len`, `handle_impossible_answer`,
            `align_to_words`.

    Raises:
        ConfigError: another task, or an unknown scoring or parameter.
        CheckpointError: as in `Reader.from_pretrained`.
    """
    if task != _TASK:
        raise ConfigError(f"task is {task!r}; spanwise has {_TASK!r} alone: ask transformers")
    if model is None:
        raise ConfigError("model is missing; name a folder or a Hub id of a model that reads spans")
    device = _device(device)
    if isinstance(model, str | Path):
        reader = Reader.from_pretrained(
            model, revision=revision, token=token, device=device, dtype=dtype
        )
    elif isinstance(model, Reader):
        reader = model
    else:
        reader = Reader.from_model(model, _pair(tokenizer), device=device, dtype=dtype)
    if tokenizer is not None:
        reader = Reader(reader.backend, _pair(tokenizer), reader.settings)
    return QuestionAnsweringPipeline(reader, batch_size=batch_size, scoring=scoring, **parameters)


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
        batch_size: as in `pipeline`.
        scoring: as in `pipeline`.
        **parameters: as in `pipeline`.

    Raises:
        ConfigError: an unknown scoring or parameter.
    """

    task = _TASK

    def __init__(
        self,
        reader: Reader,
        *,
        batch_size: int | None = None,
        scoring: str = "spanwise",
        **parameters: Any,
    ) -> None:
        if scoring not in SCORINGS:
            raise ConfigError(f"scoring is {scoring!r}; it must be one of {', '.join(SCORINGS)}")
        self.reader = reader
        self.batch_size = batch_size
        self.scoring = scoring
        self._parameters = _take(_Parameters(), parameters)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Answer one question or many.

        Args:
            *args: a question and a context; or a dict with both, or a list or generator of such.
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
            return (self._answer([_pair_of(item)], parameters)[0] for item in items)
        alone = isinstance(items, Mapping)
        found = self._answer([_pair_of(item) for item in ([items] if alone else items)], parameters)
        if alone or (self.scoring == "transformers4" and len(found) == 1):
            return found[0]
        return found

    def _answer(self, pairs: Sequence[tuple[str, str]], parameters: _Parameters) -> list[Any]:
        if self.scoring == "transformers4":
            return [self._answer_as_before(*pair, parameters) for pair in pairs]
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
                if self.batch_size is None
                else self.batch_size * window.max_length
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
        results: dict[tuple[int, int], Result] = {}
        for answer in prediction.answers:
            start, end = answer.start, answer.end
            if parameters.align_to_words:
                start, end = widen_to_words(context, start, end, self.reader.tokenizer)
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

    def _answer_as_before(self, question: str, context: str, parameters: _Parameters) -> Any:
        """One question; a dict where there is one answer, whatever `top_k` was, as it was then."""
        tokenizer = self.reader.tokenizer
        longest = min(tokenizer.config.get("model_max_length", 384), 384)
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
        found = transformers4.read(
            question, context, options, backend=self.reader.backend, tokenizer=tokenizer
        )
        return found[0] if len(found) == 1 else found

    def _cut(self, length: int) -> int:
        """The window length asked for, as far as the model has positions for it."""
        known = getattr(self.reader.backend, "longest", self.reader.settings.window.max_length)
        if known is None or length <= known:
            return length
        logger.info("max_seq_len %d is cut to the model's %d", length, known)
        return int(known)


def _take(defaults: _Parameters, changes: Mapping[str, Any]) -> _Parameters:
    changes = dict(changes)
    if "topk" in changes:
        changes.setdefault("top_k", changes.pop("topk"))
    changes.pop("padding", None)  # windows are never padded further than to their batch
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
        question, context = inputs.get("question"), inputs.get("context")
        if not isinstance(question, list | tuple):
            return dict(inputs)
        contexts = context if isinstance(context, list | tuple) else [context] * len(question)
        if len(contexts) != len(question):
            raise ConfigError(
                f"{len(question)} questions and {len(contexts)} contexts: give as many of both, or "
                "one context for all"
            )
        pairs = zip(question, contexts, strict=True)
        return [{"question": asked, "context": text} for asked, text in pairs]
    if inputs or len(args) > 2:
        raise ConfigError("give question= and context=, or a question and a context, or dicts")
    if len(args) == 2:
        return {"question": args[0], "context": args[1]}
    (items,) = args
    return items if isinstance(items, Mapping | GeneratorType) else list(items)


def _pair_of(item: Any) -> tuple[str, str]:
    if not isinstance(item, Mapping) or not {"question", "context"} <= item.keys():
        message = f"{item!r:.80} is no dict with the keys 'question' and 'context'"
        raise FormatError([Problem(file="pipeline", place="", id=None, message=message)])
    for name in ("question", "context"):
        if not isinstance(item[name], str) or not item[name].strip():
            message = f"{name} is {item[name]!r:.80}; give some text"
            raise FormatError([Problem(file="pipeline", place="", id=None, message=message)])
    return item["question"], item["context"]


def _result(score: float, start: int, end: int, answer: str) -> Result:
    return {"score": score, "start": start, "end": end, "answer": answer}


def _device(device: Any) -> str | None:
    """The names of torch, and the numbers of the old pipeline."""
    if device is None:
        return None
    if isinstance(device, int):
        return "cpu" if device < 0 else f"cuda:{device}"
    return str(device)


def _pair(tokenizer: Any) -> PairTokenizer:
    if tokenizer is None:
        raise ConfigError("tokenizer is missing: a model that is no folder needs its own")
    if isinstance(tokenizer, PairTokenizer):
        return tokenizer
    if isinstance(tokenizer, str | Path):
        return PairTokenizer.from_folder(fetch_folder(tokenizer))
    return PairTokenizer.from_transformers(tokenizer)

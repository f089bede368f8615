"""Questions and texts in, quotes out: windows, batches, backend and decoder in a row.

This module knows nothing about scores, files of questions or how a reader was trained.
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from spanwise.backends import Backend, OnnxBackend, TorchBackend, read_batches
from spanwise.batching import check_limit, collate, plan_batches
from spanwise.checkpoints import (
    BUILTIN,
    EXPORT_FILE,
    SETTINGS_FILE,
    fetch_folder,
    read_settings,
)
from spanwise.corpus.checks import text_fault
from spanwise.decoding import Decoder, check_top_k
from spanwise.errors import CheckpointError, ConfigError, FormatError, Problem
from spanwise.matching import clip_window, fit_settings
from spanwise.names import missing_names
from spanwise.schema import Batch, Example, Prediction, ReaderSettings, Windows
from spanwise.sentences import sentence_around
from spanwise.windows import PairTokenizer, stream_windows

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("spanwise")

BATCH_TOKENS = 4096
"""Tokens of a batch: what a processor reads fastest, as its caches hold so many; an accelerator is
given sixteen times that."""

BACKENDS = ("torch", "onnx")
"""What can run a model of a folder."""

Progress = Callable[[int, int], None]
"""Called with windows done and windows in all: an estimate until the last text is cut."""


class Reader:
    """Answers questions with quotes from given texts, or says that the answer is not there.

    Args:
        backend: runs the model.
        tokenizer: that of the model.
        settings: windows, decoding and calibration of the model.
        batch_tokens: tokens per batch, padding included; changes speed and memory, never an answer.
    """

    def __init__(
        self,
        backend: Backend,
        tokenizer: PairTokenizer,
        settings: ReaderSettings,
        *,
        batch_tokens: int = BATCH_TOKENS,
    ) -> None:
        self.backend = backend
        self.tokenizer = tokenizer
        self.settings = settings
        self.batch_tokens = batch_tokens
        check_limit("batch_tokens", batch_tokens)

    @classmethod
    def from_pretrained(
        cls,
        model: str | Path = BUILTIN,
        *,
        revision: str | None = None,
        token: str | None = None,
        backend: str | None = None,
        device: str | None = None,
        dtype: str = "float32",
        packing: bool = False,
        batch_tokens: int | None = None,
    ) -> Self:
        """Load a checkpoint that has a span head.

        One without `spanwise.json`, as most on the Hub, is read with default settings; that its
        probabilities are uncalibrated is logged as a warning.

        Args:
            model: a folder, the id of a model on the Hub, or "builtin", the reader that the package
                carries (docs/builtin.md).
            revision: branch, tag or commit on the Hub.
            token: for private and gated models on the Hub.
            backend: one of `BACKENDS`; None takes torch where the folder has its weights and it is
                installed, else what was exported.
            device: as in `TorchBackend`.
            dtype: as in `TorchBackend`.
            packing: as in `TorchBackend`.
            batch_tokens: tokens per batch, padding included; None: what suits the device.

        Raises:
            CheckpointError: not found, or without a span head, or incomplete, or with the tokenizer
                of another model.
            ConfigError: an unknown backend, device or dtype, a faulty `spanwise.json`, or a model
                that can not be packed.
            MissingExtra: PyTorch is needed and not installed.
        """
        folder = fetch_folder(model, revision=revision, token=token)
        stored = read_settings(folder)
        settings = stored or ReaderSettings()
        kind = choose_backend(folder, backend)
        if kind == "torch":
            from spanwise.model import load_reader_model
        tokenizer = PairTokenizer.from_folder(folder)
        engine: OnnxBackend | TorchBackend
        if kind == "onnx":
            asked = {
                f"device={device!r}": device not in {None, "cpu"},
                f"dtype={dtype!r}": dtype != "float32",
                f"packing={packing}": packing,
            }
            if any(asked.values()):
                raise ConfigError(
                    f"{', '.join(name for name, is_asked in asked.items() if is_asked)}: an "
                    "exported model runs on a processor as it was exported; leave it out, or name "
                    "the model that it was exported from"
                )
            engine = OnnxBackend(folder / EXPORT_FILE)
            window = clip_window(settings.window, settings.export.get("positions"))
            settings = replace(settings, window=window)
        else:
            network = load_reader_model(folder, settings.head)
            settings = fit_settings(stored, network, tokenizer)
            engine = TorchBackend(network, device=device, dtype=dtype, packing=packing)
        if stored is None:
            logger.warning(
                "%s has no %s: it is read with default settings, and its probabilities are "
                "uncalibrated; 'spanwise evaluate %s DATA' shows what they are worth on yours",
                model,
                SETTINGS_FILE,
                model,
            )
        if batch_tokens is None:
            batch_tokens = BATCH_TOKENS * (1 if engine.device == "cpu" else 16)
        return cls(engine, tokenizer, settings, batch_tokens=batch_tokens)

    @classmethod
    def from_model(
        cls,
        model: "torch.nn.Module",
        tokenizer: PairTokenizer,
        *,
        settings: ReaderSettings | None = None,
        device: str | None = None,
        dtype: str = "float32",
    ) -> Self:
        """Take a model that is in memory.

        Args:
            model: as in `TorchBackend`; it is changed in place as told there.
            tokenizer: that of the model.
            settings: None: the defaults, fitted to the model.
            device: as in `TorchBackend`.
            dtype: as in `TorchBackend`.

        Raises:
            CheckpointError: a model without a span head, or the tokenizer of another.
            ConfigError: an unknown device or dtype.
        """
        from spanwise.model import gives_spans

        settings = fit_settings(settings, model, tokenizer)
        if not gives_spans(model):
            raise CheckpointError(
                f"a {type(model).__name__} gives no start and end logits; load the checkpoint as "
                "AutoModelForQuestionAnswering, or train one that has no span head with "
                "'spanwise train'"
            )
        return cls(TorchBackend(model, device=device, dtype=dtype), tokenizer, settings)

    def answer(
        self, question: str, context: str | Sequence[str], *, top_k: int | None = None
    ) -> Prediction:
        """Answer one question from one text, or from the best of several.

        Args:
            question: as a person would ask it.
            context: a text of any length, or several. Their answers share one softmax, so they
                compare; `Answer.context` says which text is quoted.
            top_k: answers at most, None for as many as share the softmax (`n_best`). No probability
                depends on it.

        Raises:
            ConfigError: `top_k` is no whole number of at least 1.
            DataError: a question or text that is empty, blank or no string.
        """
        asked = _Question(place="answer", question=question, contexts=_listed(context))
        return self._read([asked], top_k=top_k, progress=None)[0]

    def answer_many(
        self,
        pairs: Iterable[tuple[str, str | Sequence[str]]],
        *,
        top_k: int | None = None,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """Answer many questions, each from its own text or texts; faster than one by one.

        Args:
            pairs: question and text, or question and texts.
            top_k: as in `answer`.
            progress: called after each batch.

        Returns:
            One prediction for each pair, in their order; its id is the position, "0" for the first.

        Raises:
            ConfigError: as in `answer`.
            DataError: a pair that is none, or a question or text as in `answer`; all of them.
        """
        asked = []
        items: Iterable[Any] = pairs  # as the caller may have mistaken their type
        for position, pair in enumerate(items):
            place = f"pairs[{position}]"
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                message = f"{pair!r:.80} is no pair; give (question, text) or (question, texts)"
                raise FormatError([Problem(file=place, place="", id=None, message=message)])
            question, context = pair
            asked.append(_Question(place=place, question=question, contexts=_listed(context)))
        return self._read(asked, top_k=top_k, progress=progress)

    def predict(
        self,
        examples: Sequence[Example],
        *,
        top_k: int | None = None,
        progress: Progress | None = None,
    ) -> list[Prediction]:
        """Answer examples; the answers that they may carry are not looked at.

        Args:
            examples: questions with their contexts.
            top_k: as in `answer`.
            progress: called after each batch.

        Returns:
            One prediction for each example, in their order and with their ids.

        Raises:
            ConfigError: as in `answer`.
            DataError: an example that is none, or a question or context as in `answer`; all of
                them.
        """
        asked = []
        items: Iterable[Any] = examples  # as the caller may have mistaken their type
        for position, example in enumerate(items):
            place = f"examples[{position}]"
            if not isinstance(example, Example):
                message = f"{example!r:.80} is no Example; read_examples makes them of files"
                raise FormatError([Problem(file=place, place="", id=None, message=message)])
            asked.append(
                _Question(
                    place=place,
                    id=example.id,
                    question=example.question,
                    contexts=(example.context,),
                )
            )
        return self._read(asked, top_k=top_k, progress=progress)

    def _read(
        self, asked: Sequence["_Question"], *, top_k: int | None, progress: Progress | None
    ) -> list[Prediction]:
        check_top_k(top_k)
        problems = [problem for question in asked for problem in question.problems()]
        if problems:
            raise FormatError(problems)
        ids = [str(n) if question.id is None else question.id for n, question in enumerate(asked)]
        contexts = [question.contexts for question in asked]
        texts = [
            Example(id=id_, question=question.question, context=context)
            for id_, question in zip(ids, asked, strict=True)
            for context in question.contexts
        ]
        decoder = self._decode(texts, progress)
        if not self.settings.decode.doubts:
            return decoder.predictions(ids, contexts, top_k=top_k)
        doubt = self._doubt(asked, decoder.predictions(ids, contexts, top_k=1))
        return decoder.predictions(ids, contexts, top_k=top_k, doubt=doubt)

    def _decode(
        self, texts: Sequence[Example], progress: Progress | None, *, warns: bool = True
    ) -> Decoder:
        decoder = Decoder(self.settings.decode, self.settings.calibration)
        done, estimate = 0, _Estimate(texts)
        batches = self._batches(texts, estimate, warns=warns)
        with closing(read_batches(self.backend, batches)) as read:
            for batch, logits in read:
                decoder.add(batch, logits)
                done += len(batch.example)
                if progress is not None:
                    progress(done, estimate.windows)
        return decoder

    def _doubt(
        self, asked: Sequence["_Question"], found: Sequence[Prediction]
    ) -> NDArray[np.float64]:
        """(Q,) what the text around each best span adds to null's score; 0 without a span."""
        decode = self.settings.decode
        doubt = np.zeros(len(asked))
        sentences = {}  # of the questions that have a span
        for n, (question, prediction) in enumerate(zip(asked, found, strict=True)):
            if not prediction.answers:
                continue
            best = prediction.answers[0]
            text, place = question.contexts[best.context], (best.start, best.end)
            context = sentence_around(text, *place)
            sentences[n] = Example(id=str(n), question=question.question, context=context)
            if decode.missing_name:
                around = sentence_around(text, *place, before=1)
                doubt[n] = decode.missing_name * missing_names(question.question, around)
        if decode.second_look and sentences:
            again = self._decode(list(sentences.values()), None, warns=False)
            margins = again.null_margins(len(sentences))
            doubt[list(sentences)] += decode.second_look * margins
        return doubt

    def _batches(
        self, texts: Sequence[Example], estimate: "_Estimate", *, warns: bool
    ) -> Iterator[Batch]:
        """Cut, sort and pad the windows of one part of the texts after another."""
        window = self.settings.window
        for windows in stream_windows(texts, self.tokenizer, window, warns=warns):
            estimate.add(windows)
            for rows in plan_batches(windows.lengths, batch_tokens=self.batch_tokens):
                yield collate(windows, rows, pad_token_id=self.tokenizer.pad_token_id)


class _Estimate:
    """How many windows the texts have, by those that are cut."""

    def __init__(self, texts: Sequence[Example]) -> None:
        self._characters = sum(len(text.context) for text in texts)
        self._reached = np.zeros(len(texts), dtype=np.int64)  # characters of each that are cut
        self._cut = 0  # windows
        self.windows = 0

    def add(self, windows: Windows) -> None:
        self._cut += len(windows)
        ends = np.maximum.reduceat(windows.offsets[:, 1], windows.row_splits[:-1])
        np.maximum.at(self._reached, windows.example, ends)
        reached = max(1, int(self._reached.sum()))
        self.windows = max(self._cut, round(self._cut * self._characters / reached))


@dataclass(frozen=True, kw_only=True)
class _Question:
    """A question with its texts, as the caller gave them; `place` is how messages call it."""

    place: str
    id: str | None = None  # None where the caller gave none
    question: Any
    contexts: tuple[Any, ...]

    def problems(self) -> list[Problem]:
        """What cannot be read."""
        if not self.contexts:
            message = "there is no text; give at least one"
            return [Problem(file=self.place, place="context", id=self.id, message=message)]
        several = len(self.contexts) > 1
        values = {"question": self.question} | {
            f"contexts[{n}]" if several else "context": text for n, text in enumerate(self.contexts)
        }
        return [
            Problem(file=self.place, place=name, id=self.id, message=f"{value!r:.80} {fault}")
            for name, value in values.items()
            if (fault := _fault(value))
        ]


def _fault(value: Any) -> str:
    if not isinstance(value, str):
        return f"is {type(value).__name__}; give a string"
    if fault := text_fault(value):
        return fault
    return "" if value.strip() else "holds nothing to read; give some text"


def _listed(context: Any) -> tuple[Any, ...]:
    is_list = isinstance(context, Sequence) and not isinstance(context, str | bytes)
    return tuple(context) if is_list else (context,)


def choose_backend(folder: Path, name: str | None) -> str:
    """What runs the model of a folder, as `Reader.from_pretrained` takes it."""
    if name is None:
        has_weights = any(folder.glob("*.safetensors"))
        is_exported = (folder / EXPORT_FILE).is_file()
        return "onnx" if is_exported and not (has_weights and find_spec("torch")) else "torch"
    if name not in BACKENDS:
        raise ConfigError(f"backend is {name!r}; it must be one of {', '.join(BACKENDS)}")
    if name == "onnx" and not (folder / EXPORT_FILE).is_file():
        raise CheckpointError(
            f"{folder}: holds no {EXPORT_FILE}; write one with 'spanwise export {folder} OUT'"
        )
    return name

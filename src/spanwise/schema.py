"""The nouns that pass between the stages, as frozen dataclasses.

Index letters mean the same in every docstring: W windows, N tokens of all windows, B windows in a
batch, T tokens of its longest window, K candidates. `start, end` are characters: half-open, code
points of the original context. `first, last` are tokens: both included. This module knows nothing
about files, models or tokenizers.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]
Floats = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Gold:
    """A published answer, kept as published even where `context[start:end] != text`.

    Attributes:
        text: the answer as the file gives it.
        start: first character, as the file gives it.
        end: one past the last character.
    """

    text: str
    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Example:
    """One question about one context.

    Attributes:
        id: unique within a data set.
        question: as the user wrote it.
        context: the text that answers are quoted from.
        title: the document that the context belongs to; may be empty.
        answers: None where unlabelled, () where labelled as unanswerable.
    """

    id: str
    question: str
    context: str
    title: str = ""
    answers: tuple[Gold, ...] | None = None

    def __post_init__(self) -> None:
        """See that answers are not still in the form of a file."""
        if not isinstance(self.answers, tuple | list | None):
            raise TypeError(
                f"Example {self.id!r}: answers is {self.answers!r:.80}; give a tuple of Gold, "
                "() or None, or have read_examples read the rows"
            )


@dataclass(frozen=True, kw_only=True)
class Windows:
    """Token windows over many examples, ragged.

    Window w owns tokens `row_splits[w]:row_splits[w + 1]`.

    Attributes:
        row_splits: (W + 1,) token positions where windows begin and end.
        input_ids: (N,) token ids, special tokens included.
        type_ids: (N,) segment ids.
        offsets: (N, 2) characters of the context as the tokenizer gives them; -1 outside it.
        edges: (N, 2) first character and end of an answer that starts, or ends, at this token,
            blanks trimmed, accents without a token taken in; -1 outside the context. A blank
            token's start is at or after its end.
        example: (W,) position of the window's example in the input.
        null_position: (W,) token within the window whose logits mean "no answer here".
        first: (W,) label, token within the window; the null position where no answer lies wholly
            inside.
        last: (W,) label, likewise.
    """

    row_splits: NDArray[np.int64]
    input_ids: Ints
    type_ids: Ints
    offsets: Ints
    edges: Ints
    example: Ints
    null_position: Ints
    first: Ints
    last: Ints

    def __len__(self) -> int:
        """The number of windows, W."""
        return len(self.example)

    @property
    def lengths(self) -> NDArray[np.int64]:
        """(W,) tokens per window."""
        return np.diff(self.row_splits)

    @property
    def has_answer(self) -> NDArray[np.bool_]:
        """(W,) True where the window is labelled with an answer, not with null."""
        return np.not_equal(self.first, self.null_position)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Windows padded on the right to the longest of them.

    Attributes:
        input_ids: (B, T) token ids.
        attention_mask: (B, T) 1 for tokens, 0 for padding.
        type_ids: (B, T) segment ids.
        edges: (B, T, 2) as in `Windows`; -1 outside the context and in padding.
        example: (B,) as in `Windows`.
        null_position: (B,) as in `Windows`.
        first: (B,) label.
        last: (B,) label.
    """

    input_ids: Ints
    attention_mask: Ints
    type_ids: Ints
    edges: Ints
    example: Ints
    null_position: Ints
    first: Ints
    last: Ints

    @property
    def context_mask(self) -> NDArray[np.bool_]:
        """(B, T) True for tokens of the context."""
        return self.edges[..., 0] >= 0


@dataclass(frozen=True, kw_only=True)
class Logits:
    """What a backend returns for a batch.

    Attributes:
        start_logits: (B, T) float32.
        end_logits: (B, T) float32.
    """

    start_logits: Floats
    end_logits: Floats


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A quote: `contexts[context][start:end] == text`, always.

    Attributes:
        text: the quoted characters.
        start: first character in its context.
        end: one past the last character.
        context: which of the contexts given for the question.
        score: start logit + end logit, before any temperature.
        probability: share of the softmax over the best spans and null, between 0 and 1.
    """

    text: str
    start: int
    end: int
    context: int = 0
    score: float
    probability: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a reader says to one question.

    Attributes:
        id: of the example.
        answers: best first; empty only where the context holds no token to quote.
        null_score: lowest null score over the question's windows, logits, with what a second
            look and missing names add.
        null_probability: 0 for a reader that was never trained on null windows.
        best: the answer returned, or None: judged unanswerable at the stored threshold.
        calibrated: True where temperature or threshold were fitted on held-out data.
    """

    id: str
    answers: tuple[Answer, ...]
    null_score: float
    null_probability: float
    best: Answer | None
    calibrated: bool


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """How text becomes windows, all in tokens; saved with the model.

    Attributes:
        max_length: tokens of a window at most, special tokens included.
        stride: tokens that neighbouring windows share.
        max_question_tokens: where a question is cut.
        context_first: context before question, for encoders that pad on the left.
    """

    max_length: int = 384
    stride: int = 128
    max_question_tokens: int = 64
    context_first: bool = False


@dataclass(frozen=True, kw_only=True)
class DecodeSettings:
    """How logits become answers; saved with the model.

    Attributes:
        n_best: spans, besides null, that share the softmax.
        max_answer_tokens: longest answer.
        use_null: False for a reader trained without null windows, whose null score means nothing.
        second_look: the sentence of the best span is read by itself, and so many times null's
            margin there is added to null's score; 0: it is not read.
        missing_name: logits added to null's score for each name or number of the question that
            stands neither in that sentence nor in the one before it; names are known by capitals.
    """

    n_best: int = 20
    max_answer_tokens: int = 30
    use_null: bool = True
    second_look: float = 0.0
    missing_name: float = 0.0

    @property
    def doubts(self) -> bool:
        """Whether the text around the best span has a say in null's score."""
        return self.use_null and bool(self.second_look or self.missing_name)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted on held-out data; saved with the model and used everywhere.

    Attributes:
        temperature: divides scores before the softmax over the spans.
        null_scale: how much the margin of null over the spans counts, above 0.
        null_bias: what is added to it, in logits.
        threshold: a question is judged unanswerable where its null probability is greater.
        fitted_on: what it was fitted on; empty where nothing was fitted: probabilities are
            uncalibrated.
    """

    temperature: float = 1.0
    null_scale: float = 1.0
    null_bias: float = 0.0
    threshold: float = 0.5
    fitted_on: str = ""

    def probabilities(
        self, score: NDArray[Any], null_score: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Turn the scores of each question into probabilities, which add up to 1.

        With nothing fitted this is one softmax over the spans and null.

        Args:
            score: (Q, K) of the spans, the best first; -inf after the last.
            null_score: (Q,) -inf for a reader whose null score means nothing.

        Returns:
            (Q, K) of the spans and (Q,) of null.

        Source: temperature, Guo et al. 2017; scale and bias, Platt 1999.
        """
        share, margin = self.share_and_margin(score, null_score)
        with np.errstate(divide="ignore", over="ignore"):
            odds = np.exp(-(self.null_scale * margin + self.null_bias))  # of the spans over null
            share *= (1 / (1 + 1 / odds))[:, None]
            return share, 1 / (1 + odds)

    def share_and_margin(
        self, score: NDArray[Any], null_score: NDArray[Any]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """What `probabilities` rests on: the spans among themselves, and null against them.

        Returns:
            (Q, K) softmax of `score / temperature`, and (Q,) margin of null in logits,
            `null_score / temperature - logsumexp(score / temperature)`: a reader may know its spans
            well and null badly, so scale and bias act on this alone.
        """
        peak = np.where(np.isfinite(score[:, 0]), score[:, 0], 0.0)
        weight = np.subtract(score, peak[:, None], dtype=np.float64)
        weight /= self.temperature
        np.exp(weight, out=weight)
        # A running sum, unlike a plain one, is the same to a bit however many zeros follow.
        total = np.cumsum(weight, axis=1)[:, -1]  # at least 1, or 0 where there is no span
        weight /= np.maximum(total, 1.0)[:, None]
        margin = np.subtract(null_score, peak, dtype=np.float64) / self.temperature
        some = (total > 0) & (null_score > -np.inf)
        margin[some] -= np.log(total[some])
        margin[(total == 0) & (null_score > -np.inf)] = np.inf
        return weight, margin


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """What `spanwise.json` holds: everything beside the weights that an answer depends on.

    Attributes:
        window: how text becomes windows.
        decode: how logits become answers.
        calibration: what was fitted on held-out data.
        head: kind of span head and its sizes; `{"kind": "linear"}` is the plain transformers class.
        provenance: versions, data hashes, recipe, and what its model came from: for people, for a
            card, and to tell data that it has seen. No answer depends on it.
        export: of `model.onnx`: its `precision`, and as `parameters` the name of each parameter →
            name of the initialiser that holds it, and whether transposed; empty where there is
            none.
    """

    window: WindowSettings = WindowSettings()
    decode: DecodeSettings = DecodeSettings()
    calibration: Calibration = Calibration()
    head: Mapping[str, Any] = field(default_factory=lambda: {"kind": "linear"})
    provenance: Mapping[str, Any] = field(default_factory=dict)
    export: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Report:
    """The scores of one evaluation.

    Attributes:
        overall: percent under the official keys (`exact`, `f1`, `total`, `HasAns_exact`, …) at the
            stored threshold, then `best_exact`, `best_f1` and their thresholds: the oracle, fitted
            on the same data; and the keys that `evaluate` adds.
        exact: 1 or 0 for each question, in the order of the data, at the stored threshold.
        f1: between 0 and 1 for each question, likewise.
        span_exact: as `exact`, were the reader never to abstain.
        span_f1: as `f1`, likewise.
        language: whose rules the answers were compared by.
        settings: of the reader.
        predictions: one for each question, in the order of the data.
    """

    overall: dict[str, float]
    exact: tuple[float, ...]
    f1: tuple[float, ...]
    span_exact: tuple[float, ...]
    span_f1: tuple[float, ...]
    language: str
    settings: ReaderSettings
    predictions: tuple[Prediction, ...]

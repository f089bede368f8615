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
            blanks trimmed; -1 outside the context. A blank token's start is at or after its end.
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
        null_score: lowest null score over the question's windows, logits.
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
    """

    n_best: int = 20
    max_answer_tokens: int = 30
    use_null: bool = True


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What was fitted on held-out data; saved with the model and used everywhere.

    Attributes:
        temperature: divides scores before the softmax.
        threshold: a question is judged unanswerable where its null probability is greater.
        fitted_on: what it was fitted on; empty where nothing was fitted: probabilities are
            uncalibrated.
    """

    temperature: float = 1.0
    threshold: float = 0.5
    fitted_on: str = ""


@dataclass(frozen=True, kw_only=True)
class ReaderSettings:
    """What `spanwise.json` holds: everything beside the weights that an answer depends on.

    Attributes:
        window: how text becomes windows.
        decode: how logits become answers.
        calibration: what was fitted on held-out data.
        head: kind of span head and its sizes; `{"kind": "linear"}` is the plain transformers class.
        provenance: versions, data hashes, recipe; for people, never read back by the code.
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
    """The scores of one evaluation, in percent.

    Attributes:
        overall: official keys (`exact`, `f1`, `total`, `HasAns_exact`, …) at the stored threshold,
            then `best_exact`, `best_f1` and their thresholds: the oracle, fitted on the same data.
        threshold: the null probability above which a question counts as unanswerable.
        provenance: model, data, settings, versions.
        predictions: one for each question, in the order of the data.
    """

    overall: dict[str, float]
    threshold: float
    provenance: dict[str, Any]
    predictions: tuple[Prediction, ...]

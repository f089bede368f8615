"""What requests and answers look like, and a bad request's faults in words.

This module knows nothing about how a question is answered.
"""

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

from spanwise.schema import Prediction

_MOST_FIELDS = 20  # of a request that are looked at one by one
_MOST = 1_000_000  # of any number in a request: no reader has use for more

Text = Annotated[str, Field(strict=True, min_length=1)]
# Only the first fault of a list is told: a body has room for a million.
Texts = Annotated[list[Text], Field(min_length=1, fail_fast=True)]
# Branches are told apart by hand, or every fault would be reported once for each.
OneOrMore = Annotated[
    Annotated[Text, Tag("<text>")] | Annotated[Texts, Tag("<texts>")],
    Discriminator(lambda value: "<texts>" if isinstance(value, list) else "<text>"),
]
Count = Annotated[int, Field(strict=True, ge=1, le=_MOST)]
Flag = Annotated[bool, Field(strict=True)]


class Parameters(BaseModel):
    """How to answer; what is left out is as `spanwise.pipeline` has it. Others are passed over."""

    top_k: Count | None = Field(None, description="Answers at most; 1 by default.")
    doc_stride: Annotated[int, Field(strict=True, ge=0, le=_MOST)] | None = Field(
        None, description="Tokens that neighbouring windows share."
    )
    max_answer_len: Count | None = Field(None, description="Tokens of an answer; 15 by default.")
    max_seq_len: Count | None = Field(
        None, description="Tokens of a window, as far as the model can read them."
    )
    max_question_len: Count | None = Field(
        None, description="Tokens where a question is cut; 64 by default."
    )
    handle_impossible_answer: Flag | None = Field(
        None, description='True: an answer may be "", at 0 to 0: not in this text.'
    )
    align_to_words: Flag | None = Field(
        None, description="Widen answers to whole words; true by default."
    )


class Inputs(BaseModel):
    """A question and a text; or several questions, with as many texts or one for all."""

    question: OneOrMore = Field(description="What to ask, or a list.")
    context: OneOrMore = Field(description="The text, or a list with one for each question.")


class Wrapped(BaseModel):
    """A request as clients of the Hub make it."""

    inputs: Inputs
    parameters: Parameters | None = None


class Bare(Inputs):
    """The same without `inputs` around it."""

    parameters: Parameters | None = None


def _branch(body: Any) -> str:
    is_bare = isinstance(body, dict) and "inputs" not in body and {"question", "context"} & {*body}
    return "<bare>" if is_bare else "<wrapped>"


HubRequest = Annotated[
    Annotated[Wrapped, Tag("<wrapped>")] | Annotated[Bare, Tag("<bare>")], Discriminator(_branch)
]


class Found(BaseModel):
    """An answer as the Hub's contract has it; a list of them, or of such lists, where it says so.

    Attributes:
        score: its probability.
        start: first character in the context.
        end: one past the last character.
        answer: the quote; "" at 0 to 0 says that the text does not answer.
    """

    score: float
    start: int
    end: int
    answer: str


HubResponse = Found | list[Found] | list[list[Found]]


class AnswerRequest(BaseModel):
    """A question and a text, or several texts whose spans share one probability."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={"oneOf": [{"required": ["context"]}, {"required": ["contexts"]}]},
    )

    question: Text = Field(description="What to ask.")
    context: Text | None = Field(None, description="The text.")
    contexts: Texts | None = Field(None, description="In its place: several texts.")
    top_k: Count | None = Field(None, description="Answers at most. No probability depends on it.")

    @model_validator(mode="before")
    @classmethod
    def _few_fields(cls, body: Any) -> Any:
        if isinstance(body, dict) and len(body) > _MOST_FIELDS:
            known = ", ".join(cls.model_fields)
            raise ValueError(f"{len(body)} fields; there are {known} alone")
        return body

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.context is None) == (self.contexts is None):
            raise ValueError("give either context, one text, or contexts, a list of them")
        return self


@dataclass(frozen=True, kw_only=True)
class AnswerResponse(Prediction):
    """A prediction, and what it was judged by.

    Attributes:
        id: "0", as a request asks one question.
        answers: best first, each with the fields of `best`.
        null_score: of "not in this text": the lowest of all windows, in logits.
        null_probability: of "not in this text".
        best: the answer; null where the text is judged to hold none.
        calibrated: whether probabilities or threshold were fitted on held-out data.
        threshold: `best` is null where `null_probability` is greater.
    """

    threshold: float


class Error(BaseModel):
    """Why a request was refused: in words, and in one word for programs."""

    error: str
    error_type: str


class Health(BaseModel):
    """That the server is there, or ready.

    Attributes:
        status: alive, or ready.
    """

    status: str


class Info(BaseModel):
    """What is served, and what a request may take.

    Attributes:
        model: the name it was asked for by; of a folder, only the last part.
        version: of spanwise.
        backend: what runs the model; this and what follows is null until it is loaded.
        calibrated: whether its probabilities or threshold were fitted on held-out data.
        threshold: above this probability of "not in this text" there is no answer.
        settings: how texts are cut into windows, and answers found.
        limits: of a request and of the queue, each a flag of `spanwise serve`.
    """

    model: str
    version: str
    backend: str | None
    calibrated: bool | None
    threshold: float | None
    settings: dict[str, dict[str, Any]]
    limits: dict[str, int | float]


_WORDS = {  # in place of those that speak of the classes behind a request
    "extra_forbidden": "there is no such field",
    "model_attributes_type": "give an object with fields",
    "string_too_short": "give some text",
    "too_short": "give at least one",
}

_show = reprlib.Repr()
_show.maxstring = _show.maxother = 60


def faults(errors: Iterable[Mapping[str, Any]]) -> str:
    """Name each field and what is wrong with its value; long and nested values are cut."""
    lines = []
    for error in errors:
        place = _place(error["loc"])
        if error["type"] == "json_invalid":
            lines.append(
                f"the body is no JSON: {error['ctx']['error']}, at byte {error['loc'][-1]}"
            )
        elif error["type"] == "missing":
            lines.append(f"{place} is missing")
        elif error["type"] == "value_error":
            lines.append(f"{place}: {error['ctx']['error']}")
        else:
            words = _WORDS.get(error["type"], error["msg"])
            lines.append(f"{place} is {_show.repr(error.get('input'))}: {words}")
    return "\n".join(dict.fromkeys(lines[:20]))


def _place(path: Sequence[str | int]) -> str:
    names = [name for name in path[1:] if not str(name).startswith("<")]  # branches of a union
    text = "".join(f"[{name}]" if isinstance(name, int) else f".{name}" for name in names)
    return text.removeprefix(".") or "the body"

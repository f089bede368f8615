"""The exception tree, and the one shape of a problem found in data.

    SpanwiseError
      x DataError(ValueError)        file, place and id known
        + FormatError                a file is not what it says
        + AlignmentError             an answer is not where it is said to be
      x ConfigError(ValueError)      .problems: all of them, not the first
      x CheckpointError              tensors missing, unexpected or of another shape
      x ParityError                  an exported model answers otherwise than its source
      x MissingExtra(ImportError)    names the extra to install

Every message says what is wrong (the value), where, and how to mend it. This module knows nothing
about how a problem is found or shown.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

SHOWN = 20  # problems printed before the rest is only counted


class SpanwiseError(Exception):
    """Base of every error that spanwise raises on purpose."""


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One fault of a data file.

    Attributes:
        file: path or name of the source.
        place: where in the source, as a path into it: `data[3].paragraphs[12].qas[0]` or `line 7`.
        id: id of the example, where one is known.
        message: the value that is wrong and how to mend it.
        alignment: True where the file is well formed and an answer is not where it is said to be.
    """

    file: str
    place: str
    id: str | None
    message: str
    alignment: bool = False

    def __str__(self) -> str:
        """`file: place (id 'x'): message`, without the parts that are unknown."""
        where = self.place if self.id is None else f"{self.place} (id {self.id!r})"
        return ": ".join(part for part in (self.file, where.strip(), self.message) if part)


def _listing(lines: Sequence[str]) -> str:
    hidden = len(lines) - SHOWN
    return "\n".join([*lines[:SHOWN], *([f"… and {hidden} more"] if hidden > 0 else [])])


class DataError(SpanwiseError, ValueError):
    """Data that cannot be used as it is; `problems` holds every fault found, not the first."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        """Build the message from the first problems and a count of the rest."""
        self.problems = tuple(problems)
        super().__init__(_listing([str(problem) for problem in self.problems]))

    @classmethod
    def of(cls, problems: Iterable[Problem]) -> "DataError":
        """A FormatError if any of `problems` is of form, else an AlignmentError."""
        problems = tuple(problems)
        kind = AlignmentError if all(problem.alignment for problem in problems) else FormatError
        return kind(problems)


class FormatError(DataError):
    """A file is not what it says it is."""


class AlignmentError(DataError):
    """An answer is not where it is said to be."""


class ConfigError(SpanwiseError, ValueError):
    """Settings that cannot work; `problems` holds every fault found, not the first."""

    def __init__(self, problems: str | Iterable[str]) -> None:
        """Build the message from all problems, one a line."""
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__(_listing(self.problems))


class CheckpointError(SpanwiseError):
    """A checkpoint that is not what was asked for: tensors missing, unexpected or misshapen."""


class ParityError(SpanwiseError):
    """An exported model answers otherwise than the model that it was made of."""


class MissingExtra(SpanwiseError, ImportError):  # noqa: N818 - it reads as what is wrong
    """A feature needs packages that the base install leaves out."""

    def __init__(self, package: str, extra: str) -> None:
        """Name the command that installs the extra."""
        super().__init__(
            f"{package!r} is not installed; this needs the extra {extra!r}: "
            f"pip install 'spanwise[{extra}]'",
        )

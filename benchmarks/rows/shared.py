"""What the rows have in common."""

from benchmarks import usual_way
from spanwise import Example, WindowSettings

Examples = list[Example]

WINDOW = WindowSettings(
    max_length=usual_way.MAX_LENGTH, stride=usual_way.STRIDE, max_question_tokens=300
)


class DisagreementError(Exception):
    """The two sides do not compute the same, so their times say nothing."""


def drop(_: object) -> None:
    """Let go of what was made."""

"""What must hold of a question, whatever file it came in.

An `Intake` gathers what one file yields. An `Entry` stands for one object of that file, such as an
article, a paragraph or a question: it reads fields and reports what is wrong with them. This module
knows nothing about how a format nests its objects.
"""

import reprlib
from collections.abc import Iterable

from spanwise.errors import Problem
from spanwise.schema import Example, Gold

Fields = dict[str, object]

_LONGEST_ID = 100  # characters of an id that a message shows
_UNPLACED = "a start that is not known may be 0: 'spanwise audit FILE --fix OUT' finds the text"
_LARGEST_OFFSET = 2**53  # beyond it, other readers of JSON lose digits

_short = reprlib.Repr()
_short.maxstring = _short.maxother = 60
_short.maxlevel = _short.maxdict = _short.maxlist = _short.maxtuple = _short.maxset = 3


class UnreadableError(Exception):
    """A file, or the rest of it, cannot be read; becomes a `Problem` of that file."""

    def __init__(self, place: str, message: str) -> None:
        """Keep the place within the file, "" for the whole of it."""
        super().__init__(message)
        self.place = place


def show(value: object) -> str:
    """`repr` of a value, shortened to what a message has room for."""
    try:
        return _short.repr(value)
    except ValueError:  # Python refuses to print an integer of thousands of digits
        return f"a value of type {type(value).__name__}"


def listing(names: Iterable[object]) -> str:
    """The first names, shown and separated by commas."""
    names = list(names)
    shown = [show(name) for name in names[:8]]
    return ", ".join([*shown, *(["…"] if len(names) > len(shown) else [])]) or "none"


def text_fault(value: object) -> str | None:
    """What keeps a value from being a text that can be stored, or None."""
    if not isinstance(value, str):
        return f"is {show(value)}, not a text"
    try:
        value.encode()
    except UnicodeEncodeError as error:
        lone = show(value[error.start])
        return f"holds a lone surrogate, {lone}, at character {error.start}; replace that character"
    return None


class Intake:
    """The examples and the problems of one file, in the order of the file.

    Attributes:
        file: its name in messages.
        examples: usable questions.
        problems: every fault found.
    """

    def __init__(self, file: str, seen: dict[str, str]) -> None:
        """Begin a file; `seen` maps the ids of this and earlier files of a split to their place."""
        self.file = file
        self.examples: list[Example] = []
        self.problems: list[Problem] = []
        self._seen = seen

    def report(
        self, place: str, message: str, *, name: str | None = None, alignment: bool = False
    ) -> None:
        """Add a problem; `name` is the id of the question, shown cut where it is long."""
        if name is not None and len(name) > _LONGEST_ID:
            name = f"{name[:_LONGEST_ID]}…"
        self.problems.append(
            Problem(file=self.file, place=place, id=name, message=message, alignment=alignment)
        )

    def claim(self, name: str, place: str) -> str | None:
        """Take an id for a place; returns file and place that have it already, or None."""
        there = self._seen.get(name)
        if there is None:
            self._seen[name] = f"{self.file}: {place}"
        return there


class Entry:
    """One object of a file, as it is being read.

    Attributes:
        place: where in the file it stands.
        usable: False once a fault of form was found; a misplaced answer is none.
    """

    def __init__(self, intake: Intake, place: str) -> None:
        """Begin an object at `place`."""
        self.place = place
        self.usable = True
        self._intake = intake
        self._id: str | None = None

    def fault(self, message: str) -> None:
        """Report a fault of form: this object cannot be used."""
        self.usable = False
        self._intake.report(self.place, message, name=self._id)

    def misplaced(self, message: str) -> None:
        """Report an answer that is not where it is said to be: the question is kept."""
        self._intake.report(self.place, message, name=self._id, alignment=True)

    def fields(self, value: object) -> Fields | None:
        """The value as an object with keys; None, and reported, where it is none."""
        if isinstance(value, dict):
            return value
        self.fault(f"is {show(value)}, not an object with keys")
        return None

    def items(self, fields: Fields, key: str) -> list[object]:
        """The list under a key; empty, and reported, where there is none."""
        if not self._has(fields, key):
            return []
        value = fields[key]
        if not isinstance(value, list):
            self.fault(f"{key!r} is {show(value)}, not a list")
            return []
        return value

    def text(self, fields: Fields, key: str) -> str | None:
        """The text under a key; None, and reported, where there is none or a blank one."""
        if not self._has(fields, key):
            return None
        value = fields[key]
        if fault := text_fault(value):
            self.fault(f"{key!r} {fault}")
        elif not str(value).strip():
            self.fault(f"{key!r} is {show(value)}: it must not be {'blank' if value else 'empty'}")
        else:
            return str(value)
        return None

    def title(self, fields: Fields, key: str = "title") -> str:
        """The title under a key; empty where there is none, and reported where it is no text."""
        value = fields.get(key)
        fault = None if value is None else text_fault(value)
        if fault:  # a question can be used without its title
            self._intake.report(self.place, f"{key!r} {fault}", name=self._id)
        return "" if fault or value is None else str(value)

    def identify(self, fields: Fields, key: str) -> None:
        """Read the id under a key, an integer too, and see that it is new."""
        value = fields.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            fields = {key: str(value)}
        name = self.text(fields, key)
        if name is None:
            return
        self._id = name
        if there := self._intake.claim(name, self.place):
            self.fault(f"the id is taken already by {there}; ids must differ within a split")

    def keep(
        self,
        *,
        question: str | None,
        context: str | None,
        title: str,
        answers: tuple[Gold, ...] | None,
    ) -> bool:
        """Check the places of the answers and keep the question if it is usable; True if it is."""
        if context is not None:
            for gold in dict.fromkeys(answers or ()):  # annotators often agree on a wrong place
                if fault := _misplacement(gold, context, self._intake.file):
                    self.misplaced(fault)
        if not self.usable or self._id is None or question is None or context is None:
            return False
        self._intake.examples.append(
            Example(id=self._id, question=question, context=context, title=title, answers=answers)
        )
        return True

    def _has(self, fields: Fields, key: str) -> bool:
        if key not in fields:
            self.fault(f"has no {key!r}; its keys are {listing(fields)}")
        return key in fields


def read_golds(value: object, entry: Entry) -> tuple[Gold, ...] | None:
    """Answers given as a list of objects or as an object of two lists; None where unlabelled."""
    if value is None:
        return None
    golds = []
    for number, (text, start) in enumerate(_pairs(value, entry)):
        if gold := read_gold(text, start, f"answers[{number}]", entry=entry):
            golds.append(gold)
    return tuple(golds)


def read_gold(text: object, start: object, name: str, *, entry: Entry) -> Gold | None:
    """One answer as published; None, and reported under `name`, where it is malformed."""
    fault = text_fault(text)
    if fault is None and not str(text).strip():
        fault = f"is {show(text)}; a question without an answer has an empty list of answers"
    if fault:
        entry.fault(f"{name}: 'text' {fault}")
        return None
    if (
        not isinstance(start, int)
        or isinstance(start, bool)
        or not -_LARGEST_OFFSET < start < _LARGEST_OFFSET
    ):
        entry.fault(f"{name}: 'answer_start' is {show(start)}, not a number of characters")
        return None
    text = str(text)
    return Gold(text=text, start=start, end=start + len(text))


def _pairs(value: object, entry: Entry) -> list[tuple[object, object]]:
    if isinstance(value, dict):
        texts, starts = value.get("text"), value.get("answer_start")
        if isinstance(texts, list) and isinstance(starts, list) and len(texts) == len(starts):
            return list(zip(texts, starts, strict=True))
    if not isinstance(value, list):
        lists = "an object with the lists 'text' and 'answer_start', of one length"
        entry.fault(f"'answers' is {show(value)}, neither a list nor {lists}; {_UNPLACED}")
        return []
    pairs = []
    for number, answer in enumerate(value):
        if not isinstance(answer, dict) or not {"text", "answer_start"} <= answer.keys():
            keys = "an object with 'text' and 'answer_start'"
            entry.fault(f"answers[{number}] is {show(answer)}, not {keys}; {_UNPLACED}")
        else:
            pairs.append((answer["text"], answer["answer_start"]))
    return pairs


def _misplacement(gold: Gold, context: str, file: str) -> str | None:
    if gold.start >= 0 and context.startswith(gold.text, gold.start):
        return None
    answer = f"answer {show(gold.text)}"
    if gold.start < 0:
        fault = f"{answer} starts at {gold.start}, before the context."
    elif gold.end > len(context):
        fault = f"{answer} ends at {gold.end}, past the end of the context at {len(context)}."
    else:
        there = show(context[gold.start : gold.end])
        fault = f"{answer} is not at context[{gold.start}:{gold.end}], which reads {there}."
    nearest = nearest_place(gold, context)
    if nearest is None:
        return f"{fault} The context does not hold it: correct its text, or remove it."
    return f"{fault} It is at {nearest}; 'spanwise audit {file} --fix OUT' repairs it."


def nearest_place(gold: Gold, context: str) -> int | None:
    """Where the text of an answer begins, nearest to its published start; the earlier of two."""
    if not gold.text:
        return None
    start = max(gold.start, 0)  # find and rfind would count a negative place from the end
    found = context.rfind(gold.text, 0, start + len(gold.text)), context.find(gold.text, start)
    return min((place for place in found if place >= 0), key=lambda p: abs(p - start), default=None)

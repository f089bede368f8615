"""The sample data set keeps its promises.

Counts, the share of unanswerable questions, exact offsets, a split by document, questions that were
written rather than filled into a template, and a reader by word overlap that gets nowhere.
"""

import json
import re
import string
from collections import Counter
from collections.abc import Iterable, Iterator
from importlib.resources import files
from typing import NamedTuple, TypedDict, cast

import pytest

import spanwise.sample


class Answer(TypedDict):
    """One gold answer."""

    text: str
    answer_start: int


class Question(TypedDict):
    """One question with its answers, none where it is unanswerable."""

    id: str
    question: str
    is_impossible: bool
    answers: list[Answer]


class Paragraph(TypedDict):
    """A context with its questions."""

    context: str
    qas: list[Question]


class Document(TypedDict):
    """A titled run of paragraphs."""

    title: str
    paragraphs: list[Paragraph]


class File(TypedDict):
    """A whole file."""

    version: str
    data: list[Document]


class Row(NamedTuple):
    """One question, where it stands."""

    split: str
    title: str
    context: str
    qa: Question


FUNCTION_LIST = """
    what which who whom whose when where why how
    am is are was were be been being do does did has have had
    can could may might must shall should will would
    a an the
    of in on at by for from to with without into onto over under after before between during
    until as than about against since within
    it its he his she her they them their you your one there this that these those
    and or but if not so no because while
"""
FUNCTION_WORDS = frozenset(FUNCTION_LIST.split())
KINDS = ("handbook", "release", "travel", "science")
WORD = re.compile(r"\w+(?:[.,:/'-]\w+)*")
PUNCTUATION = str.maketrans("", "", string.punctuation)


def load(split: str) -> File:
    """Reads one file of the sample."""
    text = files(spanwise.sample).joinpath(f"{split}.json").read_text(encoding="utf-8")
    return cast(File, json.loads(text))


FILES = {split: load(split) for split in ("train", "dev")}


def documents() -> Iterator[tuple[str, Document]]:
    """All documents with the split they belong to."""
    for split, content in FILES.items():
        for document in content["data"]:
            yield split, document


def rows() -> Iterator[Row]:
    """All questions, in the order of the files."""
    for split, document in documents():
        for paragraph in document["paragraphs"]:
            for qa in paragraph["qas"]:
                yield Row(split, document["title"], paragraph["context"], qa)


ROWS = tuple(rows())
PARAGRAPHS = tuple(p for _, document in documents() for p in document["paragraphs"])


def share(flags: Iterable[bool]) -> float:
    """The share of true flags."""
    kept = list(flags)
    return sum(kept) / len(kept)


def pattern(question: str) -> str:
    """The question with every run of content words replaced by one `_`."""
    out: list[str] = []
    for word in WORD.findall(question.lower()):
        item = word if word in FUNCTION_WORDS else "_"
        if item != "_" or out[-1:] != ["_"]:
            out.append(item)
    return " ".join(out)


def normalised(text: str) -> list[str]:
    """Words as the SQuAD metric sees them."""
    return re.sub(r"\b(a|an|the)\b", " ", text.lower().translate(PUNCTUATION)).split()


def f1(guess: str, gold: str) -> float:
    """Token F1 of the SQuAD metric, for a gold text that is not empty."""
    left, right = normalised(guess), normalised(gold)
    same = (Counter(left) & Counter(right)).total()
    return 2 * same / (len(left) + len(right)) if same else 0.0


def overlap_reader(question: str, context: str) -> str:
    """The sentence that shares most distinct words with the question; the first one on a tie."""
    asked = set(normalised(question))
    sentences = re.split(r"(?<=[.!?])\s+", context)
    return max(sentences, key=lambda sentence: len(asked & set(normalised(sentence))))


@pytest.mark.parametrize("split", ["train", "dev"])
def test_layout_is_nested_squad(split: str) -> None:
    content = FILES[split]
    assert set(content) == {"version", "data"}
    assert content["version"] == "v2.0"
    for document in content["data"]:
        assert set(document) == {"title", "paragraphs"}
        for paragraph in document["paragraphs"]:
            assert set(paragraph) == {"context", "qas"}
            for qa in paragraph["qas"]:
                assert set(qa) == {"id", "question", "is_impossible", "answers"}
                for answer in qa["answers"]:
                    assert set(answer) == {"text", "answer_start"}


@pytest.mark.parametrize("split", ["train", "dev"])
def test_files_are_plain_readable_json(split: str) -> None:
    text = files(spanwise.sample).joinpath(f"{split}.json").read_text(encoding="utf-8")
    assert text == json.dumps(FILES[split], indent=1, ensure_ascii=False) + "\n"


def test_enough_documents_paragraphs_and_questions() -> None:
    assert sum(1 for _ in documents()) >= 8
    assert len(PARAGRAPHS) >= 62
    assert len(ROWS) >= 410


def test_two_documents_of_each_kind() -> None:
    titles = {kind: {r.title for r in ROWS if r.qa["id"].startswith(f"{kind}-")} for kind in KINDS}
    assert min(len(found) for found in titles.values()) >= 2
    assert sum(len(found) for found in titles.values()) == sum(1 for _ in documents())


def test_paragraphs_have_a_sensible_length() -> None:
    lengths = [len(paragraph["context"].split()) for paragraph in PARAGRAPHS]
    assert min(lengths) >= 70
    assert max(lengths) <= 150


def test_some_offsets_count_code_points() -> None:
    contexts = [paragraph["context"] for paragraph in PARAGRAPHS]
    assert any(max(context) > "\uffff" for context in contexts)
    before = [r.context[: a["answer_start"]] for r in ROWS for a in r.qa["answers"]]
    assert sum(not text.isascii() for text in before) >= 20


@pytest.mark.parametrize("split", ["train", "dev"])
def test_a_quarter_is_unanswerable(split: str) -> None:
    assert 0.24 <= share(r.qa["is_impossible"] for r in ROWS) <= 0.27
    assert 0.2 <= share(r.qa["is_impossible"] for r in ROWS if r.split == split) <= 0.3


def test_split_is_by_document() -> None:
    titles = [(document["title"], split) for split, document in documents()]
    assert len(dict(titles)) == len(titles)
    contexts = [paragraph["context"] for paragraph in PARAGRAPHS]
    assert len(set(contexts)) == len(contexts)
    assert 2 <= len(FILES["dev"]["data"]) <= 3
    assert 0.22 <= share(r.split == "dev" for r in ROWS) <= 0.28


def test_dev_mixes_kinds() -> None:
    assert len({r.qa["id"].split("-")[0] for r in ROWS if r.split == "dev"}) >= 2


def test_ids_are_unique_and_short() -> None:
    ids = [r.qa["id"] for r in ROWS]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-\d\d-\d", name) for name in ids)


def test_questions_are_distinct_and_of_bearable_length() -> None:
    questions = [r.qa["question"] for r in ROWS]
    assert len({question.casefold() for question in questions}) == len(questions)
    assert max(len(question.split()) for question in questions) <= 40
    assert all(question == question.strip() for question in questions)


def test_no_question_pattern_is_worn_out() -> None:
    counts = Counter(pattern(r.qa["question"]) for r in ROWS)
    assert {name: count for name, count in counts.items() if count > 5} == {}


def test_first_word_does_not_tell_whether_there_is_an_answer() -> None:
    first = Counter(r.qa["question"].split()[0] for r in ROWS)
    for word in (word for word, count in first.items() if count >= 20):
        flags = [r.qa["is_impossible"] for r in ROWS if r.qa["question"].split()[0] == word]
        assert 0.1 <= share(flags) <= 0.45, word


def test_pattern_replaces_content_words() -> None:
    assert pattern("How many red lamps are in the 1.2 m box?") == "how _ are in the _"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: cast(Row, row).qa["id"])
def test_answers_are_exact(row: Row) -> None:
    qa = row.qa
    assert qa["is_impossible"] is (not qa["answers"])
    assert len(qa["answers"]) <= (3 if row.split == "dev" else 1)
    assert len({answer["text"] for answer in qa["answers"]}) == len(qa["answers"])
    words = [match.span() for match in WORD.finditer(row.context)]
    for answer in qa["answers"]:
        text, start = answer["text"], answer["answer_start"]
        end = start + len(text)
        assert text
        assert row.context[start:end] == text
        assert text == text.strip()
        assert text[-1] not in ".,;:!?"
        assert len(text.split()) <= 15
        assert not any(first < edge < last for first, last in words for edge in (start, end))


def test_dev_has_alternative_answers() -> None:
    answerable = [r.qa for r in ROWS if r.split == "dev" and not r.qa["is_impossible"]]
    assert share(len(qa["answers"]) > 1 for qa in answerable) > 0.5


def test_word_overlap_does_not_find_the_answers() -> None:
    scores = [
        max((f1(guess, answer["text"]) for answer in r.qa["answers"]), default=0.0)
        for r in ROWS
        for guess in [overlap_reader(r.qa["question"], r.context)]
    ]
    assert 100 * sum(scores) / len(scores) < 40

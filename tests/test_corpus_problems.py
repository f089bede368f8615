"""Bad input is told by file, place and id, all of it at once, and never by another exception."""

import gzip
import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spanwise.corpus import read_examples, scan_examples
from spanwise.errors import AlignmentError, DataError, FormatError, Problem

CONTEXT = "The Normans came from Norman lands. Normans!"


def question(**changes: Any) -> dict[str, Any]:
    answers = [{"text": "Normans", "answer_start": 4}]
    fields = {"id": "q", "question": "Who came?", "answers": answers} | changes
    return {key: value for key, value in fields.items() if value is not ...}


def squad(*questions: dict[str, Any], **paragraph: Any) -> dict[str, Any]:
    fields = {"context": CONTEXT, "qas": list(questions)} | paragraph
    fields = {key: value for key, value in fields.items() if value is not ...}
    return {"version": "1.1", "data": [{"title": "t", "paragraphs": [fields]}]}


def scan_text(tmp_path: Path, text: str | bytes) -> tuple[list[str], tuple[Problem, ...]]:
    path = tmp_path / "dev.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    scan = scan_examples(path)
    assert {problem.file for problem in scan.problems} <= {str(path)}
    return [example.id for example in scan.examples], scan.problems


def only(problems: tuple[Problem, ...]) -> Problem:
    (problem,) = problems
    return problem


PLACE = "data[0].paragraphs[0].qas[0]"
MISPLACED = {
    "off by one": (
        5,
        "answer 'Normans' is not at context[5:12], which reads 'ormans '. It is at 4; ",
    ),
    "nearer the second": (
        30,
        "answer 'Normans' is not at context[30:37], which reads 'ands. N'. It is at 36; ",
    ),
    "between both, the earlier": (20, "which reads 'm Norma'. It is at 4; "),
    "negative": (-1, "answer 'Normans' starts at -1, before the context. It is at 4; "),
    "negative, counted from the end": (-8, "answer 'Normans' starts at -8, before the context."),
    "past the end": (40, "answer 'Normans' ends at 47, past the end of the context at 44. It is "),
    "far past the end": (10**9, "past the end of the context at 44. It is at 36; "),
}


@pytest.mark.parametrize("name", MISPLACED)
def test_misplaced_answers_are_kept_and_reported_with_the_nearest_place(
    tmp_path: Path, name: str
) -> None:
    start, message = MISPLACED[name]
    answers = [{"text": "Normans", "answer_start": start}] * 3
    ids, problems = scan_text(tmp_path, json.dumps(squad(question(answers=answers))))
    problem = only(problems)
    assert ids == ["q"]
    assert (problem.place, problem.id, problem.alignment) == (PLACE, "q", True)
    assert message in problem.message
    assert problem.message.endswith(f"'spanwise audit {problem.file} --fix OUT' repairs it.")
    with pytest.raises(AlignmentError, match="answer 'Normans'"):
        read_examples(problem.file)


def test_misplaced_golds_are_as_published(tmp_path: Path) -> None:
    path = tmp_path / "dev.json"
    path.write_text(json.dumps(squad(question(answers=[{"text": "Gaul", "answer_start": 99}]))))
    scan = scan_examples(path)
    (gold,) = scan.examples[0].answers or ()
    assert (gold.text, gold.start, gold.end) == ("Gaul", 99, 103)
    assert "The context does not hold it" in only(scan.problems).message


@given(st.text("ab", min_size=1), st.text("ab", min_size=1, max_size=3), st.integers(-9, 30))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_the_nearest_place_is_the_nearest(
    tmp_path: Path, context: str, text: str, start: int
) -> None:
    answers = [{"text": text, "answer_start": start}]
    _, problems = scan_text(tmp_path, json.dumps(squad(question(answers=answers), context=context)))
    places = [at for at in range(len(context)) if context[at : at + len(text)] == text]
    if start in places:
        assert not problems
    elif places:
        nearest = min(places, key=lambda at: (abs(at - max(start, 0)), at))
        assert f"It is at {nearest};" in only(problems).message
    else:
        assert "does not hold it" in only(problems).message


FAULTY_QUESTIONS: dict[str, tuple[dict[str, Any], str]] = {
    "no id": (question(id=...), "has no 'id'; its keys are 'question', 'answers'"),
    "no question": (question(question=...), "has no 'question'; its keys are 'id', 'answers'"),
    "null id": (question(id=None), "'id' is None, not a text"),
    "true id": (question(id=True), "'id' is True, not a text"),
    "float id": (question(id=1.5), "'id' is 1.5, not a text"),
    "blank id": (question(id=" "), "'id' is ' ': it must not be blank"),
    "empty question": (question(question=""), "'question' is '': it must not be empty"),
    "blank question": (question(question="\t\n"), r"'question' is '\t\n': it must not be blank"),
    "question is a list": (question(question=["Who?"]), "'question' is ['Who?'], not a text"),
    "lone surrogate": (
        question(question="Who\ud800?"),
        r"'question' holds a lone surrogate, '\ud800', at character 3",
    ),
    "surrogate in an answer": (
        question(answers=[{"text": "a\udfff", "answer_start": 0}]),
        r"answers[0]: 'text' holds a lone surrogate, '\udfff', at character 1",
    ),
    "answers are a text": (question(answers="Normans"), "'answers' is 'Normans', neither a list"),
    "answers of two lengths": (
        question(answers={"text": ["Normans"], "answer_start": []}),
        "'answers' is {'answer_start': [], 'text': ['Normans']}, neither a list nor an object with",
    ),
    "answer without a start": (
        question(answers=[{"text": "Normans"}]),
        "answers[0] is {'text': 'Normans'}, not an object with 'text' and 'answer_start'",
    ),
    "answer is a text": (question(answers=["Normans"]), "answers[0] is 'Normans', not an object"),
    "empty answer": (
        question(answers=[{"text": "", "answer_start": -1}]),
        "answers[0]: 'text' is ''; a question without an answer has an empty list",
    ),
    "text start": (
        question(answers=[{"text": "Normans", "answer_start": "4"}]),
        "answers[0]: 'answer_start' is '4', not a number of characters",
    ),
    "float start": (
        question(answers=[{"text": "Normans", "answer_start": 4.0}]),
        "'answer_start' is 4.0, not a number",
    ),
    "true start": (
        question(answers=[{"text": "Normans", "answer_start": True}]),
        "'answer_start' is True, not a number",
    ),
    "huge start": (
        question(answers=[{"text": "Normans", "answer_start": 10**4000}]),
        "'answer_start' is 1000000000",
    ),
    "impossible with an answer": (
        question(is_impossible=True),
        "is_impossible is true, yet it has the answer 'Normans'",
    ),
    "possible without one": (
        question(is_impossible=False, answers=[]),
        "is_impossible is false, yet 'answers' is []",
    ),
    "perhaps impossible": (
        question(is_impossible="no"),
        "'is_impossible' is 'no', neither true nor false",
    ),
}


@pytest.mark.parametrize("name", FAULTY_QUESTIONS)
def test_a_faulty_question_is_dropped_and_its_neighbour_kept(tmp_path: Path, name: str) -> None:
    faulty, message = FAULTY_QUESTIONS[name]
    ids, problems = scan_text(tmp_path, json.dumps(squad(faulty, question(id="next"))))
    problem = only(problems)
    assert ids == ["next"]
    assert (problem.place, problem.alignment) == (PLACE, False)
    assert problem.id == ("q" if faulty.get("id") == "q" else None)
    assert message in problem.message


FAULTY_SHAPES: dict[str, tuple[Any, str, str]] = {
    "data is an object": ({"data": {}}, "data", "is {}, not a list of articles or rows"),
    "article is a text": (
        {"data": [squad()["data"][0], "t"]},
        "data[1]",
        "is 't', not an object with keys",
    ),
    "no paragraphs": (
        {"data": [*squad()["data"], {"title": "t", "para": []}]},
        "data[1]",
        "has no 'paragraphs'; its keys are 'title', 'para'",
    ),
    "paragraph is null": (
        {"data": [{"paragraphs": [None]}]},
        "data[0].paragraphs[0]",
        "is None, not an object",
    ),
    "no context": (squad(question(), context=...), "data[0].paragraphs[0]", "has no 'context'"),
    "blank context": (squad(question(), context=" "), "data[0].paragraphs[0]", "'context' is ' '"),
    "no qas": (squad(qas=...), "data[0].paragraphs[0]", "has no 'qas'; its keys are 'context'"),
    "qas is an object": (squad(qas={"id": 1}), "data[0].paragraphs[0]", "'qas' is {'id': 1}, not"),
    "question is a number": (squad(qas=[7]), PLACE, "is 7, not an object with keys"),
    "row is a list": ([[1], question(context=CONTEXT)], "[0]", "is [1], not a row"),
    "row without context": ([question(), question(context=CONTEXT, id="b")], "[0]", "no 'context'"),
    "no row has a context": ([question()], "", "has no column 'context'; its columns are 'id', "),
    "other keys": ({"Data": []}, "", "has no column 'id', 'question', 'context'; its columns are"),
    "numbers": ([1, 2], "", "its columns are none"),
    "title is a number": ({"data": [{"title": 5, "paragraphs": []}]}, "data[0]", "'title' is 5"),
    "mrqa context": ([{"context": 1, "qas": []}], "[0]", "'context' is 1, not a text"),
    "mrqa line": ([{"header": {}}, 3], "[1]", "is 3, not an object with keys"),
    "mrqa question": ([{"context": "c", "qas": [4]}], "[0].qas[0]", "is 4, not an object"),
    "mrqa answer": (
        [{"context": "c", "qas": [{"qid": "1", "question": "?", "detected_answers": ["c"]}]}],
        "[0].qas[0]",
        "detected_answers[0] is 'c', not an object with 'text' and 'char_spans'",
    ),
    "mrqa span": (
        [
            {
                "context": "c",
                "qas": [
                    {
                        "qid": "1",
                        "question": "?",
                        "detected_answers": [{"text": "c", "char_spans": [[0]]}],
                    }
                ],
            }
        ],
        "[0].qas[0]",
        "detected_answers[0]: char span [0] is not [first, last character]",
    ),
    "no articles": ({"data": []}, "", "holds no questions"),
    "no rows": ([], "", "holds no questions"),
    "no questions": (squad(), "", "holds no questions"),
    "only a header": ({"header": {}}, "", "holds no questions"),
}


@pytest.mark.parametrize("name", FAULTY_SHAPES)
def test_wrong_shapes_name_their_place(tmp_path: Path, name: str) -> None:
    document, place, message = FAULTY_SHAPES[name]
    _, problems = scan_text(tmp_path, json.dumps(document))
    assert (only(problems).place, only(problems).alignment) == (place, False)
    assert message in only(problems).message


def test_a_title_that_is_no_text_does_not_cost_the_question(tmp_path: Path) -> None:
    row = question(context=CONTEXT, title=["t"])
    ids, problems = scan_text(tmp_path, json.dumps([row]))
    assert ids == ["q"]
    assert str(only(problems)).endswith("[0] (id 'q'): 'title' is ['t'], not a text")


DEEP = 100_000
FAULTY_FILES: dict[str, tuple[bytes, str, str]] = {
    "empty": (b"", "", "is empty"),
    "only a byte order mark": (b"\xef\xbb\xbf", "", "is empty but for blanks"),
    "blanks": (b" \r\n\t", "", "is empty but for blanks"),
    "binary": (b"\x89PNG\r\n", "", "is binary or not in UTF-8: byte 0x89 at 0"),
    "latin-1": ("[é".encode("latin-1"), "", "byte 0xe9 at 1; save it as UTF-8"),
    "utf-16": ("[]".encode("utf-16"), "", "byte 0xff at 0; save it as UTF-8"),
    "utf-16 without a mark": ("[]".encode("utf-16-le"), "", "a null character at 1"),
    "prose": (b"Once upon a time", "", "has no column 'id', 'question', 'context'; its columns"),
    "cut JSON": (
        b'{"data": [\n{"title": "t"',
        "line 2 column 14",
        "is not JSON: Expecting ',' delimiter, where the text ends: is it cut short?",
    ),
    "no JSON": (
        b'{"data": nil}',
        "line 1 column 10",
        "is not JSON: Expecting value, where it reads 'nil}'",
    ),
    "NaN": (
        b'{"data":\n["NaN \\" NaN", NaN]}',
        "line 2 column 16",
        "is not JSON, which has no 'NaN': write null or a common number",
    ),
    "Infinity": (b'{"data": [Infinity]}', "line 1 column 11", "which has no 'Infinity'"),
    "-Infinity": (b'{"data": [-Infinity]}', "line 1 column 11", "which has no '-Infinity'"),
    "a number without end": (b"[" + b"1" * 5000 + b"]", "line 1 column 2", "which has no '1111"),
    "deep lists": (b"[" * DEEP + b"]" * DEEP, "", "is nested too deeply to be read"),
    "deep objects": (b'{"a":' * DEEP + b"1" + b"}" * DEEP, "", "is nested too deeply to be read"),
    "cut gzip": (gzip.compress(b"[]" * 99)[:-9], "", "is a gzip file that was cut short"),
    "damaged gzip": (b"\x1f\x8bgarbage, not a gzip", "", "is a damaged gzip file"),
    "gzip of nothing": (gzip.compress(b""), "", "is empty"),
    "damaged Parquet": (b"PAR1 and nothing else", "", "is a damaged Parquet file"),
    "header alone": (b"id,question,context\n", "", "holds no questions"),
    "semicolons": (b"id;frage;context\n1;q?;c\n", "", "has no column 'question'; its columns are"),
    "doubled column": (b"id,question,context,id\n", "", "has more than one column 'id'"),
    "CSV cut in a field": (
        b'id,question,context\n1,q?,c\n2,q?,"cut\nshort',
        "line 3",
        "is not CSV: unexpected end of data",
    ),
    "CSV quote": (
        b'id,question,context\n1,q?,"c"d\n',
        "line 2",
        "is not CSV: ',' expected after '\"'",
    ),
    "CSV row too short": (
        b'id,question,context\n0,q?,"two\nlines"\n1,q?\n',
        "line 4",
        "is ['1', 'q?'], not a row with a value for each column",
    ),
    "answers in a cell": (
        b"id,question,context,answers\n1,q?,c,Paris\n",
        "line 2",
        "'answers' is 'Paris', which is neither JSON nor a Python literal: write it as {",
    ),
    "deep answers": (
        b"id,question,context,answers\n1,q?,c," + b"[" * DEEP + b"\n",
        "line 2",
        "which is neither JSON nor a Python literal",
    ),
    "minus bomb": (
        b"id,question,context,answers\n1,q?,c," + b"-" * DEEP + b"1\n",
        "line 2",
        "which is neither JSON nor a Python literal",
    ),
    "answers in a strange literal": (
        b"id,question,context,answers\n1,q?,c,{[]: '\\d'}\n",
        "line 2",
        "which is neither JSON nor a Python literal",
    ),
    "an answer that is a number": (
        b"id,question,context,answers\n1,q?,c,214\n",
        "line 2",
        "'answers' is '214': write it as {\"text\": [",
    ),
    "an answer that looks like two numbers": (
        b'id,question,context,answers\n1,q?,c,"2,860"\n',
        "line 2",
        "'answers' is '2,860': write it as {\"text\": [",
    ),
    "no ids": (
        b"question,context,answers\nq?,c,\n",
        "",
        "--columns question=NAME,context=NAME; without ids, number the rows in a column",
    ),
    "answers without places": (
        b'{"id": "1", "question": "q?", "context": "c", "answers": {"text": ["c"]}}',
        "line 1",
        "a start that is not known may be 0: 'spanwise audit FILE --fix OUT' finds the text",
    ),
    "a start that Python cannot print": (
        b'id,question,context,answers\n1,q?,c,"[{""text"": ""c"", ""answer_start"": 0x'
        + b"f" * 9999
        + b'}]"\n',
        "line 2",
        "'answer_start' is a value of type int, not a number of characters",
    ),
}


@pytest.mark.parametrize("name", FAULTY_FILES)
def test_unreadable_files_are_told_where_and_why(tmp_path: Path, name: str) -> None:
    data, place, message = FAULTY_FILES[name]
    _, problems = scan_text(tmp_path, data)
    assert (only(problems).place, only(problems).alignment) == (place, False)
    assert message in only(problems).message
    assert len(str(only(problems))) < 400 + len(str(tmp_path))
    with pytest.raises(FormatError, match=r"dev\.json"):
        read_examples(tmp_path / "dev.json")


def test_nesting_that_json_can_read_is_told_too(tmp_path: Path) -> None:
    # Deep enough for repr() to fail on it, not for the parser.
    for depth in range(100, 900, 100):
        bomb = json.loads("[" * depth + "]" * depth)
        rows = [question(context=CONTEXT, id=bomb, question=bomb, title=bomb, answers=bomb)]
        _, problems = scan_text(tmp_path, json.dumps(rows))
        assert problems


def test_files_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, message in [
        ("nowhere.json", "does not exist"),
        ("n" * 999, "cannot be opened: "),
        ("null\0", "cannot be opened: embedded null byte"),
        ("sub", "is a folder without data files (.json, "),
    ]:
        scan = scan_examples(tmp_path / name)
        assert scan.examples == ()
        assert message in only(scan.problems).message


def test_lines_of_jsonl_are_read_on_after_a_broken_one(tmp_path: Path) -> None:
    rows = [json.dumps(question(context=CONTEXT, id=name)) for name in "abc"]
    broken = [rows[0], '{"id": ', "", rows[1], '{"id": NaN}', "[" * DEEP, "7", rows[2]]
    ids, problems = scan_text(tmp_path, "\n".join(broken))
    assert ids == ["a", "b", "c"]
    assert [(problem.place, problem.message.split(":")[0]) for problem in problems] == [
        ("line 2 column 8", "is not JSON"),
        ("line 5 column 8", "is not JSON, which has no 'NaN'"),
        ("line 6", "is nested too deeply to be read"),
        ("line 7", "is 7, not a row with a value for each column"),
    ]
    ids, problems = scan_text(tmp_path, "\n".join(['{"id": ', *rows]))
    assert ids == ["a", "b", "c"]
    assert only(problems).place == "line 1 column 8"


def test_rows_before_a_fault_of_syntax_are_kept(tmp_path: Path) -> None:
    ids, problems = scan_text(tmp_path, 'id,question,context\n1,q?,c\n2,q?,"c')
    assert ids == ["1"]
    assert only(problems).place == "line 3"


def test_all_problems_of_a_question_are_told_at_once(tmp_path: Path) -> None:
    answers = [{"text": "Normans", "answer_start": 5}, {"text": 3, "answer_start": 0}]
    document = squad(question(question=" ", answers=answers), context=CONTEXT)
    _, problems = scan_text(tmp_path, json.dumps(document))
    assert [problem.message.split(" is ")[0] for problem in problems] == [
        "'question'",
        "answers[1]: 'text'",
        "answer 'Normans'",
    ]


def test_duplicate_ids_name_both_places_and_both_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / f"{name}.json").write_text(json.dumps(squad(question())))
    scan = scan_examples(tmp_path)
    problem = only(scan.problems)
    assert len(scan.examples) == 1
    assert problem.file == str(tmp_path / "b.json")
    assert f"(id 'q'): the id is taken already by {tmp_path / 'a.json'}: {PLACE};" in str(problem)
    twice = tmp_path / "a.json"
    with pytest.raises(FormatError, match="the id is taken already by"):
        read_examples([twice, twice])
    _, problems = scan_text(tmp_path, json.dumps(squad(question(), question(id="x"), question())))
    assert only(problems).place == "data[0].paragraphs[0].qas[2]"


def test_an_error_shows_twenty_problems_and_counts_the_rest(tmp_path: Path) -> None:
    qas = [question(id=str(number), question="") for number in range(25)]
    (tmp_path / "dev.json").write_text(json.dumps(squad(*qas)))
    with pytest.raises(FormatError, match=r"qas\[0\] \(id '0'\): 'question' is ''") as caught:
        read_examples(tmp_path / "dev.json")
    shown = str(caught.value).splitlines()
    assert len(caught.value.problems) == 25
    assert shown[20:] == ["… and 5 more"]


def test_long_values_are_shortened(tmp_path: Path) -> None:
    long = "long " * 10_000
    answers = [{"text": long, "answer_start": 1}]
    qas = [question(id=long, answers=answers), question(id="b", answers=long)]
    (tmp_path / "dev.json").write_text(json.dumps(squad(*qas)))
    problems = scan_examples(tmp_path / "dev.json").problems
    assert len(problems) == 2
    assert all(len(str(problem)) < 450 + len(str(tmp_path)) for problem in problems)


UNPLACED = "a start that is not known may be 0: 'spanwise audit FILE --fix OUT' finds the text"
NO_ANSWERS = "neither a list nor an object with the lists 'text' and 'answer_start', of one length"


def test_parquet_of_other_types_is_told(tmp_path: Path) -> None:
    rows = [{"id": 1.5, "context": b"bytes", "question": None, "answers": 3}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data")
    messages = [problem.message for problem in scan_examples(tmp_path / "data").problems]
    assert messages == [
        "'id' is 1.5, not a text",
        "'question' is None, not a text",
        "'context' is b'bytes', not a text",
        f"'answers' is 3, {NO_ANSWERS}; {UNPLACED}",
    ]


def seeds() -> list[bytes]:
    row = question(context=CONTEXT, title="t", answers={"text": ["Normans"], "answer_start": [4]})
    rows = [row, row | {"id": "r"}]
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    span = {"text": "Normans", "char_spans": [[4, 10]]}
    mrqa = {"context": CONTEXT, "qas": [{"qid": "m", "question": "?", "detected_answers": [span]}]}
    return [
        json.dumps(squad(question(is_impossible=False))).encode(),
        "\n".join(json.dumps(row) for row in rows).encode(),
        ("\n".join([json.dumps({"header": {}}), json.dumps(mrqa)])).encode(),
        f'id,question,context,answers\n1,q?,{CONTEXT},"{row["answers"]}"\n2,q?,c,\n'.encode(),
        b'question,review,human_ans_spans,human_ans_indices,q_review_id\nq?,"a b","b","(2, 3)",1\n',
        gzip.compress(json.dumps(squad(question())).encode()),
        sink.getvalue(),
    ]


def test_the_seeds_of_the_next_test_are_sound(tmp_path: Path) -> None:
    for data in seeds():
        (tmp_path / "data").write_bytes(data)
        assert read_examples(tmp_path / "data")


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(seeds())))
    tokens = [
        b'"',
        b"{",
        b"[",
        b"]",
        b",",
        b"null",
        b"-1",
        b"NaN",
        b"\\ud800",
        b"\0",
        b"\n",
        b"1e9",
    ]
    for _ in range(draw(st.integers(1, 4))):
        begin = draw(st.integers(0, len(data)))
        end = min(begin + draw(st.integers(0, 8)), len(data))
        data[begin:end] = draw(st.sampled_from(tokens) | st.binary(max_size=4))
    return bytes(data)


KEYS = [
    *("data", "title", "paragraphs", "context", "qas", "id", "question", "answers", "text"),
    *("answer_start", "is_impossible", "header", "qid", "detected_answers", "char_spans"),
]
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)


@given(st.binary() | damaged() | JSON_VALUES.map(lambda value: json.dumps(value).encode()))
@example(b"PAR1PAR1")
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=200
)
def test_no_bytes_raise_anything_but_a_data_error(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "data"
    path.write_bytes(data)
    scan = scan_examples(path)
    assert scan.examples or scan.problems
    assert "\n" not in "".join(str(problem) for problem in scan.problems)
    for kept in scan.examples:
        assert kept.id
        assert kept.question.strip()
        assert kept.context.strip()
        kept.context.encode()
    if scan.problems:
        with pytest.raises(DataError, match="data"):
            read_examples(path)
    else:
        assert read_examples(path) == scan.examples

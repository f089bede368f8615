"""Every format that users bring becomes the same examples."""

import csv
import gzip
import io
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pandas import NA  # type: ignore[import-untyped]

import spanwise.corpus
from spanwise.corpus import read_examples, scan_examples
from spanwise.errors import ConfigError, DataError, FormatError, MissingExtra
from spanwise.schema import Example, Gold

CONTEXT = "Ada wrote the first program.\r\nGrace wrote a compiler – 1952."
ROWS: list[dict[str, Any]] = [
    {
        "id": "q1",
        "title": "History",
        "context": CONTEXT,
        "question": "Who wrote a compiler?",
        "answers": {"text": ["Grace", "Grace"], "answer_start": [30, 30]},
    },
    {
        "id": "q2",
        "title": "History",
        "context": CONTEXT,
        "question": "Who wrote a novel?",
        "answers": {"text": [], "answer_start": []},
    },
]
EXAMPLES = (
    Example(
        id="q1",
        question="Who wrote a compiler?",
        context=CONTEXT,
        title="History",
        answers=(Gold(text="Grace", start=30, end=35),) * 2,
    ),
    Example(id="q2", question="Who wrote a novel?", context=CONTEXT, title="History", answers=()),
)


def listed(answers: dict[str, list[Any]]) -> list[dict[str, Any]]:
    pairs = zip(answers["text"], answers["answer_start"], strict=True)
    return [{"text": text, "answer_start": start} for text, start in pairs]


def squad(*, version: str) -> dict[str, Any]:
    qas = []
    for row in ROWS:
        question = {"id": row["id"], "question": row["question"], "answers": listed(row["answers"])}
        if version == "v2.0":
            question["is_impossible"] = not question["answers"]
        qas.append(question)
    paragraphs = [{"context": CONTEXT, "qas": qas}]
    return {"version": version, "data": [{"title": "History", "paragraphs": paragraphs}]}


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def csv_text(rows: list[dict[str, Any]], *, line_end: str = "\n", between: str = ",") -> str:
    file = io.StringIO(newline="")
    writer = csv.DictWriter(file, list(rows[0]), lineterminator=line_end, delimiter=between)
    writer.writeheader()
    writer.writerows(rows)
    return file.getvalue()


def with_answers(form: Callable[[dict[str, list[Any]]], Any]) -> list[dict[str, Any]]:
    return [row | {"answers": form(row["answers"])} for row in ROWS]


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue()


FILES: dict[str, bytes] = {
    "squad 1.1": json.dumps(squad(version="1.1")).encode(),
    "squad 2.0": json.dumps(squad(version="v2.0")).encode(),
    "squad 2.0, indented": json.dumps(squad(version="v2.0"), indent=1).encode(),
    "articles without data": json.dumps(squad(version="1.1")["data"]).encode(),
    "list of rows": json.dumps(ROWS).encode(),
    "rows under data": json.dumps({"data": with_answers(listed)}).encode(),
    "JSONL": lines(ROWS).encode(),
    "JSONL, lists of answers": lines(with_answers(listed)).encode(),
    "JSONL, answers as text": lines(with_answers(json.dumps)).encode(),
    "CSV, JSON": csv_text(with_answers(json.dumps)).encode(),
    "CSV, JSON lists": csv_text(with_answers(lambda a: json.dumps(listed(a)))).encode(),
    "CSV, Python": csv_text(ROWS).encode(),
    "CSV, Python lists": csv_text(with_answers(listed)).encode(),
    "CSV, CRLF": csv_text(ROWS, line_end="\r\n").encode(),
    "CSV, semicolons": csv_text(ROWS, between=";").encode(),
    "TSV": csv_text(ROWS, between="\t").encode(),
    "Parquet": parquet(ROWS),
    "Parquet, lists of answers": parquet(with_answers(listed)),
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_gives_the_same_examples_whatever_the_suffix(
    tmp_path: Path, name: str
) -> None:
    plain, packed = tmp_path / "data.txt", tmp_path / "data.csv"
    plain.write_bytes(FILES[name])
    packed.write_bytes(gzip.compress(FILES[name]))
    assert read_examples(plain) == EXAMPLES
    assert read_examples(str(packed)) == EXAMPLES


@pytest.mark.parametrize("name", [name for name in FILES if not name.startswith("Parquet")])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data"
    path.write_bytes(b"\xef\xbb\xbf" + FILES[name])
    assert read_examples(path) == EXAMPLES


@pytest.mark.parametrize("name", ["squad 2.0, indented", "JSONL"])
def test_line_ends_of_windows_leave_offsets_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / "data.json"
    path.write_bytes(FILES[name].replace(b"\n", b"\r\n"))
    assert read_examples(path) == EXAMPLES


def test_a_carriage_return_inside_a_csv_field_survives(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    row = {"id": "1", "context": "a\rb\r\nc\nd\u2028e", "question": "q?", "answers": "[]"}
    path.write_bytes(csv_text([row, row | {"id": "2"}], line_end="\r\n").encode())
    assert [example.context for example in read_examples(path)] == [row["context"]] * 2


def test_lines_end_at_line_feeds_only(tmp_path: Path) -> None:
    context = "one\u2028two\u2029three\x85four\x0bfive"
    path = tmp_path / "data.jsonl"
    path.write_text(lines([ROWS[1] | {"context": context}, ROWS[0]]), encoding="utf-8")
    assert read_examples(path)[0].context == context


def test_one_line_of_jsonl_is_a_row(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text(lines(ROWS[:1]), encoding="utf-8")
    assert read_examples(path) == EXAMPLES[:1]


def test_a_row_may_have_a_column_called_data(tmp_path: Path) -> None:
    row = {"id": "a", "question": "which ?", "context": "red", "answers": [], "data": "2020-01-01"}
    (tmp_path / "one.jsonl").write_text(json.dumps(row))
    assert [example.id for example in read_examples(tmp_path / "one.jsonl")] == ["a"]


def test_a_context_of_ten_megabytes_fits_into_a_csv_cell(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    context = "x" * 10_000_000 + " end"
    answers = {"text": ["end"], "answer_start": [10_000_001]}
    path.write_text(csv_text([ROWS[0] | {"context": context, "answers": answers}]))
    (example,) = read_examples(path)
    assert example.context == context


def test_a_question_without_answers_is_unlabelled(tmp_path: Path) -> None:
    nested = squad(version="1.1")
    for question in nested["data"][0]["paragraphs"][0]["qas"]:
        del question["answers"]
    rows = [{key: row[key] for key in ("id", "context", "question")} for row in ROWS]
    files = {
        "nested": json.dumps(nested),
        "rows": json.dumps(rows),
        "null": lines([row | {"answers": None} for row in rows]),
        "csv": csv_text(rows),
        "blank": csv_text([row | {"answers": ""} for row in rows]),
        "None": csv_text([row | {"answers": "None"} for row in rows]),
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        assert [example.answers for example in read_examples(tmp_path / name)] == [None, None], name
    (tmp_path / "parquet").write_bytes(parquet([row | {"answers": None} for row in rows]))
    assert [example.answers for example in read_examples(tmp_path / "parquet")] == [None, None]
    assert read_examples(tmp_path / "rows")[0].title == ""


def test_impossible_questions_have_no_answers_and_plausible_ones_are_not_read(
    tmp_path: Path,
) -> None:
    document = squad(version="v2.0")
    question = document["data"][0]["paragraphs"][0]["qas"][1]
    question["plausible_answers"] = [{"text": "Ada", "answer_start": 0}]
    (tmp_path / "with.json").write_text(json.dumps(document))
    del question["answers"]
    (tmp_path / "without.json").write_text(json.dumps(document))
    assert read_examples(tmp_path / "with.json")[1].answers == ()
    assert read_examples(tmp_path / "without.json")[1].answers == ()


def test_a_column_called_header_makes_no_mrqa(tmp_path: Path) -> None:
    rows = [row | {"header": "h"} for row in ROWS]
    (tmp_path / "data.jsonl").write_text(lines(rows), encoding="utf-8")
    assert read_examples(tmp_path / "data.jsonl") == EXAMPLES


def test_integer_ids_are_read_as_text(tmp_path: Path) -> None:
    rows = [row | {"id": number} for number, row in enumerate(ROWS)]
    (tmp_path / "a.jsonl").write_text(lines(rows), encoding="utf-8")
    (tmp_path / "b.parquet").write_bytes(parquet(rows))
    for file in tmp_path.iterdir():
        assert [example.id for example in read_examples(file)] == ["0", "1"]


def test_other_names_of_columns(tmp_path: Path) -> None:
    names = {"id": "Nr", "context": "passage", "question": "frage", "answers": "gold"}
    rows = [{names.get(key, key): value for key, value in row.items()} for row in ROWS]
    for name, data in [("csv", csv_text(rows).encode()), ("parquet", parquet(rows))]:
        (tmp_path / name).write_bytes(data)
        assert read_examples(tmp_path / name, columns=names) == EXAMPLES


def test_columns_that_we_do_not_have_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="columns: 'passage' is none of id, question, context"):
        scan_examples(tmp_path, columns={"passage": "context"})


def test_a_column_that_was_named_must_be_there(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text(csv_text(ROWS), newline="")
    with pytest.raises(FormatError, match="has no column 'gold'; its columns are 'id', 'title'"):
        read_examples(tmp_path / "data.csv", columns={"answers": "gold"})


MRQA: list[dict[str, Any]] = [
    {"header": {"dataset": "Toy", "split": "dev"}},
    {
        "id": "p",
        "context": "[PAR] Ada met Ada.",
        "qas": [
            {
                "qid": "m1",
                "question": "Who?",
                "answers": ["Ada"],
                "detected_answers": [{"text": "Ada", "char_spans": [[6, 8], [14, 16]]}],
            },
            {"qid": "m2", "question": "Whom?"},
        ],
    },
]


def test_mrqa_spans_include_their_last_character(tmp_path: Path) -> None:
    (tmp_path / "toy.jsonl.gz").write_bytes(gzip.compress(lines(MRQA).encode()))
    first, second = read_examples(tmp_path)
    assert first.answers == (Gold(text="Ada", start=6, end=9), Gold(text="Ada", start=14, end=17))
    assert (second.id, second.context, second.answers) == ("m2", "[PAR] Ada met Ada.", None)


def test_mrqa_spans_of_another_length_are_reported(tmp_path: Path) -> None:
    text = lines(MRQA).replace("[6, 8]", "[6, 9]")
    (tmp_path / "toy.jsonl").write_text(text)
    scan = scan_examples(tmp_path / "toy.jsonl")
    (problem,) = scan.problems
    assert (problem.place, problem.id, problem.alignment) == ("line 2.qas[0]", "m1", True)
    assert "'Ada' has 3 characters, but its char span [6, 9]" in problem.message
    assert "has 4" in problem.message
    assert [example.id for example in scan.examples] == ["m1", "m2"]


REVIEW = "I did n't like it , but the plot is great. ANSWERNOTFOUND"
SUBJQA = {
    "item_id": "B0",
    "question": "How is the plot?",
    "review": REVIEW,
    "human_ans_spans": "plot is great .",
    "human_ans_indices": "(28, 42)",
    "q_review_id": "r",
}


def test_subjqa_answers_are_slices_of_the_review(tmp_path: Path) -> None:
    unanswerable = {"human_ans_spans": "ANSWERNOTFOUND", "human_ans_indices": "(43, 57)"}
    rows = [SUBJQA, SUBJQA | unanswerable]
    (tmp_path / "dev.csv").write_text(csv_text(rows))
    (tmp_path / "dev.parquet").write_bytes(parquet(rows))
    assert read_examples(tmp_path / "dev.parquet") == read_examples(tmp_path / "dev.csv")
    first, second = read_examples(tmp_path / "dev.csv")
    assert first.context == second.context == "I did n't like it , but the plot is great."
    assert first.answers == (Gold(text="plot is great.", start=28, end=42),)
    assert second.answers == ()
    assert (first.id, second.id) == ("r", "r-2")
    assert first.title == "B0"


def test_subjqa_text_that_is_not_at_its_indices_is_reported(tmp_path: Path) -> None:
    rows = [
        SUBJQA | {"human_ans_spans": "plot was great"},
        SUBJQA | {"human_ans_indices": "(28, 57)", "q_review_id": "past"},
        SUBJQA | {"human_ans_indices": "28-42", "q_review_id": "form"},
        SUBJQA | {"review": " ANSWERNOTFOUND", "q_review_id": "empty"},
    ]
    (tmp_path / "dev.csv").write_text(csv_text(rows))
    scan = scan_examples(tmp_path / "dev.csv")
    changed, past, form, empty, *rest = scan.problems
    assert "reads 'plot is great.', but 'human_ans_spans' is 'plot was great'" in changed.message
    assert "'plot is great. ANSWERNOTFOUND' ends at 57, past the end" in past.message
    assert "'human_ans_indices' is '28-42'" in form.message
    assert "'review' is ''" in empty.message
    assert changed.alignment
    assert past.alignment
    assert {problem.id for problem in rest} == {"empty"}
    assert [example.id for example in scan.examples] == ["r", "past"]


def test_a_folder_is_one_split_of_its_data_files(tmp_path: Path) -> None:
    (tmp_path / "b.tsv").write_text(csv_text(ROWS[:1], between="\t"), encoding="utf-8")
    (tmp_path / "a.parquet").write_bytes(parquet(ROWS[1:]))
    (tmp_path / "README.md").write_text("About this data.")
    (tmp_path / ".cache.json").write_text("{")
    (tmp_path / "more.json").mkdir()
    assert read_examples(tmp_path) == EXAMPLES[::-1]
    assert read_examples([tmp_path / "b.tsv", str(tmp_path / "a.parquet")]) == EXAMPLES


def test_no_source_is_bad_usage() -> None:
    with pytest.raises(ConfigError, match=r"sources: \[\]"):
        scan_examples([])
    with pytest.raises(ConfigError, match=r"sources: \[''\]"):
        scan_examples("")


def test_rows_in_memory_are_read_as_those_of_a_file() -> None:
    assert read_examples(ROWS) == EXAMPLES
    assert read_examples(datasets.Dataset.from_list(ROWS)) == EXAMPLES
    frame = datasets.Dataset.from_list(ROWS).to_pandas()  # its answers are arrays
    frame.loc[1, "answers"] = None
    assert read_examples(frame.to_dict("records")) == (
        EXAMPLES[0],
        replace(EXAMPLES[1], answers=None),
    )
    with pytest.raises(DataError, match=r"rows: \[0\] \(id 'q1'\): 'title' is <NA>"):
        read_examples([ROWS[0] | {"title": NA}])
    renamed = [{"q" if name == "question" else name: row[name] for name in row} for row in ROWS]
    assert read_examples(renamed, columns={"question": "q"}) == EXAMPLES
    both = datasets.DatasetDict(train=datasets.Dataset.from_list(ROWS))
    with pytest.raises(ConfigError, match="sources has 'train': give one of them, or name files"):
        read_examples(both)
    with pytest.raises(DataError, match=r"rows: \[1\]: is 3, not a row"):
        read_examples([ROWS[0], 3])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"Example 'a': answers is \{'text'.* give a tuple of Gold"):
        Example(id="a", question="q", context="c", answers={"text": []})  # type: ignore[arg-type]


def test_paragraphs_may_stand_without_articles(tmp_path: Path) -> None:
    """As in the files of SimpleTransformers."""
    rows = squad(version="v2.0")["data"][0]["paragraphs"][0]["qas"]
    file = tmp_path / "train.json"
    file.write_text(json.dumps([{"context": CONTEXT, "qas": rows}]), encoding="utf-8")
    assert read_examples(file) == tuple(replace(example, title="") for example in EXAMPLES)
    file.write_text(json.dumps([{"context": CONTEXT, "qas": [*rows, rows[0] | {"question": ""}]}]))
    with pytest.raises(DataError, match=r"train\.json: \[0\]\.qas\[\d\]"):
        read_examples(file)


def test_what_save_to_disk_wrote_is_read_without_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = datasets.Dataset.from_list(ROWS)
    data.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=data, dev=data.select([0])).save_to_disk(str(tmp_path / "two"))
    monkeypatch.chdir(tmp_path)
    loaded = datasets.load_from_disk("two")["train"]
    loaded.map(lambda row: {"id": f"{row['id']}-again"})  # it leaves a file there
    assert len([*(tmp_path / "two" / "train").glob("*.arrow")]) == 2
    assert read_examples("hub:./one") == read_examples("hub:./two:train") == EXAMPLES
    assert read_examples("hub:./two:dev") == EXAMPLES[:1]
    with pytest.raises(DataError, match=r"names no split, and it has 'train', 'dev'"):
        read_examples("hub:./two")
    with pytest.raises(DataError, match=r"has no split 'test', and it has 'train', 'dev'"):
        read_examples("hub:./two:test")
    with pytest.raises(DataError, match=r"two: was written by save_to_disk: name it hub:\./FOLDER"):
        read_examples("two")


@pytest.fixture
def hub_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "validation.parquet").write_bytes(parquet(ROWS))
    return folder


def test_hub_sources_read_local_folders(hub_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_examples(f"hub:{hub_folder}") == EXAMPLES
    (hub_folder / "train.parquet").write_bytes(parquet(ROWS[:1]))
    monkeypatch.chdir(hub_folder.parent)
    assert read_examples("hub:./set:train") == EXAMPLES[:1]
    with pytest.raises(DataError, match=r"hub:\./set: names no split, and it has 'train', 'valid"):
        read_examples("hub:./set")
    with pytest.raises(DataError, match='cannot be loaded: Unknown split "test"'):
        read_examples("hub:./set:test")
    with pytest.raises(DataError, match=r"hub:\./nowhere: cannot be loaded"):
        read_examples("hub:./nowhere")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("hub:o/n", ("o/n", None, None, None)),
        ("hub:o/n/c:s@r", ("o/n", "c", "s", "r")),
        ("hub:o/n:train[:10%]", ("o/n", None, "train[:10%]", None)),
        ("hub:o/n@refs/pr/1", ("o/n", None, None, "refs/pr/1")),
        ("hub:/a/b/c:s", ("/a/b/c", None, "s", None)),
    ],
)
def test_hub_sources_name_repository_config_split_and_revision(
    monkeypatch: pytest.MonkeyPatch, source: str, expected: tuple[str | None, ...]
) -> None:
    calls = []

    def load(path: str, config: str | None, *, split: str | None, revision: str | None) -> Any:
        calls.append((path, config, split, revision))
        return datasets.Dataset.from_list(ROWS)

    monkeypatch.setattr(datasets, "load_dataset", load)
    assert read_examples(source) == EXAMPLES
    assert calls == [expected]


@pytest.mark.parametrize("name", ["", "squad", "o/n/c/d:", "o/n@"])
def test_malformed_hub_sources_are_told_the_form(name: str) -> None:
    with pytest.raises(DataError, match=f"hub:{name}: is not of the form hub:OWNER/NAME"):
        read_examples(f"hub:{name}")


def test_missing_packages_name_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(parquet(ROWS))
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingExtra, match=r"'pyarrow' is not installed.*spanwise\[data\]"):
        scan_examples(tmp_path / "data")
    with pytest.raises(MissingExtra, match=r"'datasets' is not installed.*spanwise\[data\]"):
        scan_examples("hub:o/n")


def test_importing_loads_neither_pyarrow_nor_datasets() -> None:
    code = "import sys, spanwise.corpus; print({'pyarrow', 'datasets'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_public_names() -> None:
    assert spanwise.corpus.__all__ == ["Scan", "read_examples", "scan_examples", "write_examples"]
    assert all(hasattr(spanwise.corpus, name) for name in spanwise.corpus.__all__)

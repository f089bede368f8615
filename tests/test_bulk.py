"""Every row of a table is answered once, in order, whatever the table looks like and what fails."""

import gzip
import json
import os
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from errno import ENOSPC
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spanwise import (
    BulkConfig,
    ConfigError,
    FormatError,
    MissingExtra,
    Reader,
    SpanwiseError,
    answer_table,
)
from spanwise.bulk import answering, cluster, config, output
from spanwise.bulk.config import Job, prepare_job
from spanwise.bulk.contexts import build_index
from spanwise.bulk.worker import Worker
from spanwise.checkpoints import flush
from spanwise.cli import main
from tests.bulk_shared import make_model, make_rows, read_folder, write_lines

Answer = Callable[..., Path]


@pytest.fixture(scope="module")
def model(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny exported reader that judges some questions unanswerable."""
    return make_model(exported, tmp_path_factory.mktemp("model") / "reader")


@pytest.fixture
def answer(model: Path, tmp_path: Path) -> Answer:
    """Answer a table with a tiny reader and give the folder of the answers."""

    def call(table: object, out: str = "out", **changes: Any) -> Path:
        folder = tmp_path / out
        config = BulkConfig(table=str(table), out=str(folder), model=str(model), part_rows=8)
        answer_table(replace(config, **changes))
        return folder

    return call


def answers(folder: Path) -> list[dict[str, Any]]:
    return [
        row for part in sorted(folder.glob("*.parquet")) for row in pq.read_table(part).to_pylist()
    ]


def rejected(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "rejected.jsonl").read_text().splitlines()]


def test_the_answers_are_the_readers_own(answer: Answer, model: Path, tmp_path: Path) -> None:
    rows = make_rows(30)
    folder = answer(write_lines(tmp_path / "table.jsonl", rows))
    reader = Reader.from_pretrained(model)
    expected = []
    for number, row in enumerate(rows):
        if row["question"].strip():
            said = reader.answer(row["question"], row["context"])
            best = said.best
            expected.append(
                {
                    "row": number,
                    "id": str(row["id"]),
                    "text": best.text if best else None,
                    "start": best.start if best else None,
                    "end": best.end if best else None,
                    "probability": best.probability if best else said.null_probability,
                    "null_probability": said.null_probability,
                }
            )
    found = answers(folder)
    assert found == expected
    assert {row["text"] is None for row in found} == {True, False}
    assert [row["row"] for row in rejected(folder)] == [7, 17, 27]
    assert sorted(path.name for path in folder.glob("*.parquet")) == [
        f"part-0000{part}.parquet" for part in range(4)
    ]


def test_parts_carry_where_they_come_from(answer: Answer, tmp_path: Path) -> None:
    folder = answer(write_lines(tmp_path / "table.jsonl", make_rows(12)))
    manifest = json.loads((folder / "manifest.json").read_text())
    assert manifest["complete"]
    for part in manifest["parts"]:
        table = pq.read_table(folder / part["file"])
        assert part["rows"] == table.num_rows
        assert part["bytes"] == (folder / part["file"]).stat().st_size
        assert table.schema.metadata == {
            b"spanwise": manifest["spanwise"].encode(),
            b"model_sha256": manifest["model"]["sha256"].encode(),
            b"settings_sha256": manifest["settings"]["sha256"].encode(),
        }
    assert [part["rejected"] for part in manifest["parts"]] == [1, 0]
    assert str(tmp_path) not in json.dumps({**manifest, "model": ""})


def test_every_form_of_a_table_gives_the_same_parts(answer: Answer, tmp_path: Path) -> None:
    rows = [row for row in make_rows(30) if row["question"] != " "]
    lines = write_lines(tmp_path / "table.jsonl", rows)
    (tmp_path / "table.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "table.parquet", row_group_size=7)
    odd = {
        "id": table["id"].cast(pa.string()),
        "q": table["question"].dictionary_encode(),
        "text": table["context"].cast(pa.string_view()),
    }
    pq.write_table(pa.table(odd), tmp_path / "odd.parquet")
    pieces = tmp_path / "pieces"
    pieces.mkdir()
    write_lines(pieces / "1.jsonl", rows[:5])
    pq.write_table(table[5:20], pieces / "2.parquet")
    write_lines(pieces / "3.ndjson", rows[20:])
    (pieces / "_SUCCESS").write_text("")
    expected = answers(answer(lines, "lines"))
    assert len(expected) == len(rows)
    assert answers(answer(tmp_path / "table.jsonl.gz", "gzip")) == expected
    assert answers(answer(tmp_path / "table.parquet", "parquet")) == expected
    assert answers(answer(pieces, "folder")) == expected
    assert answers(answer(f"{pieces}/[123]*", "pattern")) == expected
    columns = {"question": "q", "context": "text"}
    assert answers(answer(tmp_path / "odd.parquet", "odd", columns=columns)) == expected


def test_contexts_are_found_by_their_id(answer: Answer, tmp_path: Path) -> None:
    rows = make_rows(20)
    contexts = [{"id": f"c{row['id'] % 6}", "context": row["context"]} for row in rows[:6]]
    named = [
        {"id": row["id"], "question": "which ?", "context_id": f"c{row['id'] % 6}"} for row in rows
    ]
    plain = [
        {"id": row["id"], "question": "which ?", "context": rows[row["id"] % 6]["context"]}
        for row in rows
    ]
    table = write_lines(tmp_path / "named.jsonl", named)
    expected = answers(answer(write_lines(tmp_path / "plain.jsonl", plain), "plain"))
    pq.write_table(pa.Table.from_pylist(contexts), tmp_path / "contexts.parquet")
    found = answer(table, "named", contexts=str(tmp_path / "contexts.parquet"))
    assert answers(found) == expected
    assert not (found / ".work").exists()


def test_a_context_that_is_no_text_rejects_the_questions_that_name_it(
    answer: Answer, tmp_path: Path
) -> None:
    contexts = [
        {"id": "twice", "context": "the red lamp"},
        {"id": "twice", "context": "the blue lamp"},
        {"id": "same", "context": "the red lamp"},
        {"id": "same", "context": "the red lamp"},
        {"id": "blank", "context": " "},
        {"id": "number", "context": 3},
        {"id": "surrogate", "context": "\ud800"},
        {"context": "without a name"},
    ]
    names = ["twice", "same", "blank", "number", "surrogate", "unknown", None]
    rows = [{"id": n, "question": "which ?", "context_id": name} for n, name in enumerate(names)]
    folder = answer(
        write_lines(tmp_path / "table.jsonl", rows),
        contexts=str(write_lines(tmp_path / "contexts.jsonl", contexts)),
    )
    assert [row["id"] for row in answers(folder)] == ["1"]
    assert [(row["id"], row["reason"]) for row in rejected(folder)] == [
        ("0", "'context_id' 'twice' names 2 contexts; it must name one"),
        ("2", "'context' is ' ': it must not be blank"),
        ("3", "has no 'context'"),
        ("4", "'context' is not UTF-8: byte 0xed at 0"),
        ("5", "'context_id' 'unknown' names no contexts; it must name one"),
        ("6", "has no 'context_id'"),
    ]


def test_bad_rows_are_rejected_with_their_reason(answer: Answer, tmp_path: Path) -> None:
    good = {"id": "good", "question": "which ?", "context": "the red lamp"}
    rows: list[Any] = [
        good,
        b"",
        b"{",
        b"[1]",
        b'{"id": "\xff"}',
        {**good, "id": None},
        {**good, "id": True},
        {"id": 5, "question": "which ?"},
        {**good, "question": "", "id": "empty"},
        {**good, "context": ["red"], "id": "list"},
        {**good, "question": "\udfff"},
        {**good, "id": "last"},
    ]
    folder = answer(write_lines(tmp_path / "table.jsonl", rows))
    assert [row["row"] for row in answers(folder)] == [0, 11]
    reasons = [(row["row"], row["id"], row["reason"]) for row in rejected(folder)]
    assert reasons == [
        (1, None, "is a blank line"),
        (2, None, reasons[1][2]),
        (3, None, "is [1], not an object"),
        (4, None, "is not UTF-8: byte 0xff at 8 of the line"),
        (5, None, "has no 'id'"),
        (6, None, "'id' is True, not a text"),
        (7, "5", "has no 'context'; its keys are 'id', 'question'"),
        (8, "empty", "'question' is '': it must not be empty"),
        (9, "list", "'context' is ['red'], not a text"),
        (10, "good", reasons[9][2]),
    ]
    assert "is not JSON" in reasons[1][2]
    assert "lone surrogate" in reasons[9][2]


def test_parquet_text_that_is_no_utf8_hides_no_other(answer: Answer, tmp_path: Path) -> None:
    text = pa.array([b"the red lamp", b"\xffred", None]).view(pa.string())
    columns = {"id": ["a", "b", "c"], "question": ["which ?"] * 3, "context": text}
    pq.write_table(pa.table(columns), tmp_path / "table.parquet")
    folder = answer(tmp_path / "table.parquet")
    assert [row["id"] for row in answers(folder)] == ["a"]
    assert [(row["id"], row["reason"]) for row in rejected(folder)] == [
        ("b", "'context' is not UTF-8: byte 0xff at 0"),
        ("c", "has no 'context'"),
    ]


def test_a_table_without_a_good_row_ends_well(answer: Answer, tmp_path: Path) -> None:
    folder = answer(write_lines(tmp_path / "table.jsonl", [b"id,question", b"1,who?"]))
    assert answers(folder) == []
    assert len(rejected(folder)) == 2


def test_a_text_that_the_tokenizer_refuses_is_a_bad_row_but_no_other_failure_is(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spanwise.errors import Problem

    table = write_lines(tmp_path / "table.jsonl", make_rows(5))
    predict = Worker._predict

    def refuse(worker: Worker, questions: Any) -> Any:
        if any(question.row == 2 for question in questions):
            raise FormatError([Problem(file="", place="", id=None, message="cannot be read")])
        return predict(worker, questions)

    monkeypatch.setattr(Worker, "_predict", refuse)
    folder = answer(table)
    assert [row["row"] for row in answers(folder)] == [0, 1, 3, 4]
    assert rejected(folder) == [{"row": 2, "id": "2", "reason": "cannot be read"}]

    def fail(worker: Worker, questions: Any) -> Any:
        raise RuntimeError("the model broke")

    monkeypatch.setattr(Worker, "_predict", fail)
    with pytest.raises(RuntimeError, match="the model broke"):
        answer(table, "broken")


def test_whatever_step_fails_the_same_command_goes_on(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each flush and each rename fails once, as on a full disk; then the run is run again."""
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    expected = read_folder(answer(table, "whole"))
    steps, left = 0, -1

    def count(path: Path) -> None:
        nonlocal steps, left
        steps, left = steps + 1, left - 1
        if left == 0:
            raise OSError(ENOSPC, os.strerror(ENOSPC))
        flush(path)

    monkeypatch.setattr(output, "flush", count)
    answer(table, "counted")
    total = steps
    assert total == 2 * (1 + 3 * 2 + 2)  # manifest, parts and receipts, rejected and manifest
    for step in range(1, total + 1):
        left = step
        with pytest.raises(ConfigError, match=r"cannot be written: No space left on device\. What"):
            answer(table, f"out{step}")
        left = -1
        assert read_folder(answer(table, f"out{step}")) == expected


def test_a_run_goes_on_only_with_what_it_began_with(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    folder = answer(table)
    before = read_folder(folder)
    moved = tmp_path / "moved.jsonl"
    moved.write_bytes(table.read_bytes())
    assert read_folder(answer(moved)) == before  # another name, the same rows
    with pytest.raises(ConfigError, match=r"begun with something else.*\n.*part_rows is 9, was 8"):
        answer(table, part_rows=9)
    with pytest.raises(ConfigError, match=r"model\.sha256 is '[0-9a-f]{64}', was"):
        answer(table, model="builtin")
    write_lines(moved, make_rows(19))
    with pytest.raises(ConfigError, match=r"input\[0\]\.rows is 19, was 20"):
        answer(moved)
    write_lines(moved, [*make_rows(20)[:-1], {"id": 19}])
    with pytest.raises(ConfigError, match=r"input\[0\]\.sha256"):
        answer(moved)
    monkeypatch.setattr(config, "version", lambda _name: "9")
    with pytest.raises(ConfigError, match="spanwise is '9', was"):
        answer(table)
    assert read_folder(folder) == before


def test_a_part_that_was_removed_is_written_again_or_missed(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    expected = read_folder(answer(table, "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(output.Output, "finish", lambda _self: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            answer(table)
    (tmp_path / "out" / "part-00001.parquet").write_bytes(b"")
    folder = answer(table)
    assert read_folder(folder) == expected
    (folder / "part-00001.parquet").unlink()
    with pytest.raises(ConfigError, match=r"part-00001\.parquet is missing"):
        answer(table)


def test_a_folder_of_somebody_else_is_left_alone(answer: Answer, tmp_path: Path) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(9))
    out = tmp_path / "out"
    out.write_text("mine")
    with pytest.raises(ConfigError, match="out is a file; name a folder"):
        answer(table)
    out.unlink()
    out.mkdir()
    (out / "part-00000.parquet").write_text("mine")
    with pytest.raises(ConfigError, match=r"part-00000\.parquet was not written by this run"):
        answer(table)
    (out / "part-00000.parquet").unlink()
    (out / "manifest.json").write_text('{"complete": true}')
    with pytest.raises(ConfigError, match=r"manifest\.json is no manifest of 'spanwise bulk'"):
        answer(table)
    (out / "manifest.json").unlink()
    answer(table)
    manifest = json.loads((out / "manifest.json").read_text())
    (out / "manifest.json").write_text(json.dumps(manifest | {"format": 2}))
    with pytest.raises(ConfigError, match="format 2 is not the one that this spanwise writes"):
        answer(table)
    (out / "manifest.json").write_text(json.dumps(manifest))
    (out / "part-00009.parquet.bak").write_text("mine")
    with pytest.raises(ConfigError, match=r"part-00009\.parquet\.bak was not written"):
        answer(table)


def test_a_place_that_cannot_be_written_is_named(answer: Answer, tmp_path: Path) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(9))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"file/out: cannot be written: Not a directory"):
        answer(table, "file/out")


def test_an_index_of_other_texts_is_made_anew(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    rows = [{"id": 1, "question": "which ?", "context_id": "a"}]
    table = write_lines(tmp_path / "table.jsonl", rows)
    contexts = write_lines(tmp_path / "contexts.jsonl", [{"id": "a", "context": "a red lamp"}])
    monkeypatch.setattr(answering, "_answer_here", killed)
    with pytest.raises(KeyboardInterrupt):
        answer(table, contexts=str(contexts))
    monkeypatch.undo()
    for file in (tmp_path / "out").glob("[!.]*"):  # as `rm out/*` does: what is hidden stays
        file.unlink()
    text = "one green valve and another"
    write_lines(contexts, [{"id": "a", "context": text}])
    (found,) = answers(answer(table, contexts=str(contexts)))
    expected = answers(answer(write_lines(tmp_path / "whole.jsonl", [
        {"id": 1, "question": "which ?", "context": text}
    ]), "whole"))  # fmt: skip
    assert (found["text"], found["start"]) == (expected[0]["text"], expected[0]["start"])
    assert found["null_probability"] == expected[0]["null_probability"]


def test_of_two_runs_that_begin_at_once_the_second_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (output.Output(tmp_path / "out", 1, {"input": name}) for name in "ab")
    assert first.begin() is None
    # The second has looked around before the first began.
    monkeypatch.setattr(second, "_read_manifest", iter([None, first._read_manifest()]).__next__)
    monkeypatch.setattr(second, "_check_names", lambda **_: None)
    with pytest.raises(ConfigError, match="was begun with something else, and answers must not"):
        second.begin()
    assert json.loads((tmp_path / "out" / "manifest.json").read_bytes())["input"] == "a"
    assert output.Output(tmp_path / "out", 1, {"input": "a"}).begin() is None  # the same goes on


def test_an_index_that_cannot_be_written_is_named_like_a_part(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contexts = write_lines(tmp_path / "contexts.jsonl", [{"id": "a", "context": "the red lamp"}])
    rows = [{"id": 1, "question": "which ?", "context_id": "a"}]
    table = write_lines(tmp_path / "table.jsonl", rows)
    build = build_index
    nowhere = tmp_path / "nowhere" / "index"
    monkeypatch.setattr(answering, "build_index", lambda _file, table: build(nowhere, table))
    with pytest.raises(
        ConfigError, match=r"contexts-\w+\.sqlite: cannot be written: SQLite: unable"
    ):
        answer(table, contexts=str(contexts))
    monkeypatch.undo()
    assert len(answers(answer(table, contexts=str(contexts)))) == 1


def test_a_table_that_is_none_is_refused_before_anything_is_written(
    answer: Answer, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(b"{}\n" * 1000)[:-20])
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"PAR1 and no more")
    pq.write_table(pa.table({"id": [1], "text": ["x"]}), tmp_path / "other.parquet")
    (tmp_path / "none").mkdir()
    (tmp_path / "table.CSV").write_text("id,question,context\n1,Who?,Ada.\n")
    for name, message in {
        "table.CSV": r"is CSV by its name; bulk reads JSONL and Parquet\. pandas turns",
        "missing.jsonl": "does not exist; name a file, a folder or a pattern",
        "none": "is a folder without data files",
        "empty.jsonl": "holds no rows",
        "cut.gz": "is a gzip file that was cut short",
        "bad.parquet": "is a damaged Parquet file",
        "other.parquet": r"has no column 'question', 'context'; its columns are 'id', 'text'",
    }.items():
        with pytest.raises(FormatError, match=f"{re.escape(name)}: {message}"):
            answer(tmp_path / name)
    assert not (tmp_path / "out").exists()


def test_settings_that_cannot_work_are_named(answer: Answer, tmp_path: Path) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(1))
    with pytest.raises(ConfigError, match="part_rows is 0; a part answers 1 row or more"):
        answer(table, part_rows=0)
    with pytest.raises(ConfigError, match=r"'title' is none of id, question, context; context_id"):
        answer(table, columns={"title": "t"})
    with pytest.raises(ConfigError, match="'context' is none of id, question, context_id"):
        answer(table, columns={"context": "t"}, contexts=str(table))
    with pytest.raises(ConfigError, match="dtype='bfloat16'"):
        answer(table, dtype="bfloat16")


def test_what_is_not_installed_is_named(
    answer: Answer, tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(1))
    monkeypatch.setitem(sys.modules, "ray", None)
    config = BulkConfig(table=str(table), out=str(tmp_path / "out"), model=str(model))
    with pytest.raises(MissingExtra, match=r"'ray' is not installed.*spanwise\[ray\]"):
        answer_table(config, ray="local")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingExtra, match=r"'pyarrow' is not installed.*spanwise\[data\]"):
        answer(table)


def test_a_cluster_that_is_too_small_is_refused(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With actors on all its processors Ray Data's own tasks would never begin."""
    ray = SimpleNamespace(cluster_resources=lambda: {"CPU": 2.0})
    monkeypatch.setattr(cluster, "_connected", lambda _address: nullcontext(ray))
    table = write_lines(tmp_path / "table.jsonl", make_rows(1))
    config = BulkConfig(table=str(table), out=str(tmp_path / "out"), model=str(model))
    with pytest.raises(ConfigError, match="'auto' has 2 CPUs and 0 GPUs; besides 2 CPUs"):
        answer_table(config, ray="auto")
    with pytest.raises(ConfigError, match="needs a GPU or more"):
        answer_table(replace(config, device="cuda", out=str(tmp_path / "gpu")), ray="auto")


def test_an_actor_writes_a_part_once_and_only_with_the_same_model(
    tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    job = prepare_job(
        BulkConfig(table=str(table), out=str(tmp_path / "out"), model=str(model), part_rows=8)
    )
    place = output.Output(job.config.out, job.parts, job.identity())
    place.begin()
    actor = cluster.PartWorker(job, place, None)
    first = actor({"id": [1]})
    monkeypatch.setattr(cluster, "answer_part", lambda *_: 1 / 0)
    assert actor({"id": [1]}) == first
    assert (first["part"], first["rows"], first["rejected"]) == ([1], [8], [0])
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            actor({"id": [2]})
    with pytest.raises(SpanwiseError, match=r"part-00002\.parquet was begun 3 times and its actor"):
        actor({"id": [2]})
    with pytest.raises(ConfigError, match=f"not {'0' * 64} as where the run was begun"):
        cluster.PartWorker(replace(job, model_sha256="0" * 64), place, None)


def test_several_processes_give_the_same_as_one(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(600))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1})
    many = answer(table, "many", part_rows=250)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0})
    assert read_folder(answer(table, "one", part_rows=250)) == read_folder(many)
    assert [row["row"] for row in answers(many)] == [n for n in range(600) if n % 10 != 7]


def test_the_verb_says_what_it_did(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    out = tmp_path / "out"
    command = ["spanwise", "bulk", str(model), str(table), str(out), "--part-rows", "8"]
    monkeypatch.setattr("spanwise.cli.bulk._SILENCE", 0.0)
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match="0"):
        main()
    said = capsys.readouterr()
    assert said.out == f"18 rows answered in 3 parts in {out}\n"
    assert re.search(r"2 rows were rejected \(the first, row 7: \S", " ".join(said.err.split()))
    assert re.search(r"rows 20/20  [\d,.]+ rows/s  0:00:00 left", said.err)
    with pytest.raises(SystemExit, match="0"):
        main()
    assert capsys.readouterr().out == (
        f"18 rows answered in 3 parts in {out}; 20 of 20 rows were done before\n"
    )
    monkeypatch.setattr(sys, "argv", [*command, "--columns", "question=q"])
    with pytest.raises(SystemExit, match="1"):
        main()
    assert "columns.question is 'q', was 'question'" in capsys.readouterr().err


def test_what_ray_prints_is_not_among_the_results(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def answer_on_ray(job: Job, place: output.Output, *_: object) -> None:
        sys.stdout.write("(raylet) WARNING: 8 PYTHON worker processes have been started\n")
        actor = cluster.PartWorker(job, place, None)
        for part in range(job.parts):
            actor({"id": [part]})

    monkeypatch.setattr(cluster, "answer_on_ray", answer_on_ray)
    table, out = write_lines(tmp_path / "table.jsonl", make_rows(20)), tmp_path / "out"
    arguments = ["bulk", str(model), str(table), str(out), "--ray", "local"]
    monkeypatch.setattr(sys, "argv", ["spanwise", *arguments])
    with pytest.raises(SystemExit, match="0"):
        main()
    said = capsys.readouterr()
    assert said.out == f"18 rows answered in 1 part in {out}\n"
    assert "8 PYTHON worker processes" in said.err


def test_a_table_that_is_changed_while_it_is_read_ends_the_run(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    write = output.Output.write_part

    def write_and_change(self: output.Output, part: int, *rest: Any) -> output.Receipt:
        write_lines(table, make_rows(20, seed=part + 1))
        return write(self, part, *rest)

    monkeypatch.setattr(output.Output, "write_part", write_and_change)
    with pytest.raises(
        FormatError, match=r"table\.jsonl: was changed while it was read.*another OUT"
    ):
        answer(table)
    assert not json.loads((tmp_path / "out" / "manifest.json").read_text())["complete"]


def test_a_part_or_receipt_that_is_damaged_is_answered_again(
    answer: Answer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(30))
    expected = read_folder(answer(table, "whole"))
    with monkeypatch.context() as patch:
        patch.setattr(output.Output, "finish", lambda _: [])
        folder = answer(table)
    part = folder / "part-00001.parquet"
    part.write_bytes(part.read_bytes()[:-9] + b"x" + part.read_bytes()[-8:])
    (folder / ".work" / "part-00002.parquet.json").write_text('{"receipt": {"a": 1}}')
    assert read_folder(answer(table)) == expected


@pytest.mark.parametrize("name", ["part-00001.parquet", "rejected.jsonl"])
def test_a_complete_run_that_has_lost_something_says_so(
    answer: Answer, tmp_path: Path, name: str
) -> None:
    table = write_lines(tmp_path / "table.jsonl", make_rows(20))
    folder = answer(table)
    (folder / name).unlink()
    with pytest.raises(ConfigError, match=rf"{re.escape(name)} is missing.*name another OUT"):
        answer(table)


def test_cells_that_python_has_no_value_for_are_rejected_alone(
    answer: Answer, tmp_path: Path
) -> None:
    rows = make_rows(3)
    texts = [row["context"] for row in rows]
    view = pa.array([b"\xff", *(text.encode() for text in texts[1:])], pa.binary_view())
    table = {
        "id": pa.array([Decimal(5), Decimal(6), Decimal("7.5")], pa.decimal128(9, 1)),
        "question": pa.array([row["question"] for row in rows]),
        "context": view.view(pa.string_view()),
    }
    (tmp_path / "in" / "x.parquet").mkdir(parents=True)  # as Spark names its folders
    pq.write_table(pa.table(table), tmp_path / "in" / "table.parquet")
    folder = answer(tmp_path / "in")
    assert [row["id"] for row in answers(folder)] == ["6"]
    first, last = rejected(folder)
    assert "'context' is not UTF-8" in first["reason"]
    assert last["row"] == 2
    days = {name: pa.array(["a"]) for name in ("id", "question")} | {
        "context": pa.array([2**31 - 1], pa.date32())
    }
    pq.write_table(pa.table(days), tmp_path / "days.parquet")
    (bad,) = rejected(answer(tmp_path / "days.parquet", "days"))
    assert "date32[day] without a value" in bad["reason"]


def test_where_all_rows_are_bad_the_verb_fails(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "dev.json"
    table.write_text('{"version": "v2.0", "data": []}')
    monkeypatch.setattr(
        sys, "argv", ["spanwise", "bulk", str(model), str(table), str(tmp_path / "o")]
    )
    with pytest.raises(SystemExit, match="1"):
        main()
    said = " ".join(capsys.readouterr().err.split())
    assert "1 rows were rejected, which is all of them: is it a table, Parquet or JSONL?" in said


def test_names_of_parts_sort_as_their_numbers(tmp_path: Path) -> None:
    many = output.Output(tmp_path, 1_000_001, {})
    assert many.part_name(999) < many.part_name(1000) < many.part_name(1_000_000)
    assert output.Output(tmp_path, 3, {}).part_name(2) == "part-00002.parquet"

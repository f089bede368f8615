"""Any run of rows is found, whatever the files look like; brute force reads them whole."""

import gzip
import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from spanwise.bulk import tables
from spanwise.bulk.tables import read_rows, scan_table
from spanwise.errors import FormatError


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a few lines cross every boundary."""
    monkeypatch.setattr(tables, "_STEP", 5)
    monkeypatch.setattr(tables, "_BLOCK", 16)
    monkeypatch.setattr(tables, "_AT_ONCE", 3)


@pytest.mark.parametrize("seed", range(20))
def test_any_range_is_what_the_whole_has_there(tmp_path: Path, seed: int) -> None:
    draw = random.Random(seed)
    expected: list[int | None] = []
    for number in range(draw.randrange(1, 5)):
        values = [len(expected) + n for n in range(draw.randrange(0, 40))]
        path = tmp_path / f"{number}.{draw.choice(['jsonl', 'jsonl.gz', 'parquet'])}"
        if path.suffix == ".parquet":
            size = draw.randrange(1, 20)
            pq.write_table(
                pa.table({"id": pa.array(values, pa.int64())}), path, row_group_size=size
            )
            expected += values
            continue
        lines = [draw.choice([json.dumps({"id": value}), ""]) for value in values]
        text = "\n".join(lines) + draw.choice(["", "\n"])
        data = text.encode()
        path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
        lines = text.split("\n")
        if not lines[-1]:
            lines.pop()  # behind the last line end there is no line
        expected += [json.loads(line)["id"] if line else None for line in lines]
    (tmp_path / "last.jsonl").write_text('{"id": -1}')
    expected.append(-1)
    files = scan_table(str(tmp_path), ("id",))
    files = tuple(sorted(files, key=lambda file: file.path.endswith("last.jsonl")))
    assert sum(file.rows for file in files) == len(expected)
    for _ in range(30):
        start, stop = sorted(draw.choices(range(len(expected) + 1), k=2))
        found = list(read_rows(files, range(start, stop), ("id",)))
        assert [row.number for row in found] == list(range(start, stop))
        assert [row.fields.get("id") for row in found] == expected[start:stop]
        assert all((row.fault == "is a blank line") == (not row.fields) for row in found)


def test_a_line_without_end_does_not_fill_the_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "_LONGEST", 64)
    path = tmp_path / "table.jsonl"
    path.write_bytes(
        b'{"id": 1}\n' + b"x" * 63 + b"\n" + b"x" * 64 + b"\n" + b"x" * 500 + b'\n{"id": 2}'
    )
    faults = [row.fault for row in read_rows(scan_table(str(path), ()), range(5), ())]
    assert [fault[:14] for fault in faults] == [
        "", "is longer than", "is longer than", "is longer than", ""
    ]  # fmt: skip


def test_files_that_change_under_a_run_end_it(tmp_path: Path) -> None:
    lines = tmp_path / "table.jsonl"
    lines.write_text('{"id": 1}\n' * 9)
    (file,) = scan_table(str(lines), ())
    lines.write_text('{"id": 1}\n' * 7)
    with pytest.raises(FormatError, match=r"table\.jsonl: has lost lines since this run began"):
        list(read_rows([file], range(5, 9), ()))
    parquet = tmp_path / "table.parquet"
    pq.write_table(pa.table({"id": ["some text"] * 9}), parquet, compression="none")
    (file,) = scan_table(str(parquet), ("id",))
    data = bytearray(parquet.read_bytes())
    data[4:40] = b"\xff" * 36
    parquet.write_bytes(data)
    with pytest.raises(FormatError, match=r"table\.parquet: is damaged within rows 2 to 5"):
        list(read_rows([file], range(2, 5), ("id",)))


def test_a_byte_order_mark_is_no_part_of_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "table.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"id": 1}\r\n{"id": 2}\r\n')
    found = read_rows(scan_table(str(path), ()), range(2), ())
    assert [row.fields for row in found] == [{"id": 1}, {"id": 2}]

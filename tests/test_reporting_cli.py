"""`evaluate --html` and `audit --html`: what is written where, and what is refused before work."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spanwise import Reader
from spanwise.cli import main
from spanwise.corpus import write_examples
from tests.conftest import make_colours
from tests.reporting_shared import make_reader

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `spanwise` in this process: its status, stdout and stderr."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["spanwise", *map(str, arguments)])
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        return status, *capsys.readouterr()

    return call


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "data.json"
    write_examples(file, make_colours(8, seed=1, unanswerable=0.3), form="squad")
    return file


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run folder whose reader is a stand-in."""
    folder = tmp_path / "run"
    folder.mkdir()
    line = '{"step": 10, "loss": 2.5, "epoch": 1.0}\n{"epoch": 1, "dev": {"exact": 4.0, "f1": 5.0}}'
    (folder / "metrics.jsonl").write_text(line)

    def load(_model: str, **_: Any) -> Reader:
        return make_reader()

    monkeypatch.setattr(Reader, "from_pretrained", load)
    return folder


def test_evaluate_writes_a_page_beside_what_it_prints(
    run: Run, data: Path, tiny: Path, tmp_path: Path
) -> None:
    page = tmp_path / "new" / "report [1].html"
    status, out, err = run("evaluate", tiny, data, "--html", page, "--json")
    assert status == 0
    assert json.loads(out)["total"] == 8
    assert f"report written to {page}" in err.replace("\n", "")
    text = page.read_text(encoding="utf-8")
    assert f"<title>{tiny} on {data}</title>" in text
    assert "How it was trained" in text
    assert "EM and F1 on the dev set" in text
    assert [file.name for file in page.parent.iterdir()] == [page.name]


def test_a_faulty_log_is_named_before_anything_is_read(
    run: Run, data: Path, tiny: Path, tmp_path: Path
) -> None:
    (tiny / "metrics.jsonl").write_text("{")
    status, out, err = run("evaluate", tiny, data, "--html", tmp_path / "r.html")
    assert (status, out) == (1, "")
    assert "line 1: '{' is no entry of a run's log" in err.replace("\n", " ")


def test_audit_writes_a_page_beside_what_it_prints(run: Run, data: Path, tmp_path: Path) -> None:
    page = tmp_path / "audit.html"
    status, out, err = run("audit", data, "--html", page)
    assert status == 0
    assert "questions" in out
    assert "report written to" in err
    assert f"<title>Audit of {data}</title>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("verb", ["evaluate", "audit"])
def test_a_place_where_no_page_can_be_is_refused_first(run: Run, tmp_path: Path, verb: str) -> None:
    arguments = ["no-such-model"] if verb == "evaluate" else []
    status, out, err = run(verb, *arguments, tmp_path / "none.json", "--html", tmp_path)
    assert (status, out) == (1, "")
    assert "--html" in err
    assert "no file can be written there" in err.replace("\n", " ")


@pytest.mark.parametrize("verb", ["evaluate", "audit"])
def test_a_missing_extra_is_named_first(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    for name in [name for name in sys.modules if name.startswith("spanwise.reporting")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    arguments = ["no-such-model"] if verb == "evaluate" else []
    page = tmp_path / "page.html"
    status, _, err = run(verb, *arguments, tmp_path / "none.json", "--html", page)
    assert status == 1
    assert "pip install 'spanwise[report]'" in err.replace("\n", " ")

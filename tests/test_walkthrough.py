"""The walkthrough runs offline from a clean kernel, and the table beside it names what exists."""

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import nbformat
import pytest
import typer
from nbclient import NotebookClient

from spanwise import TrainConfig
from spanwise.cli import app

ROOT = Path(__file__).parent.parent
NOTEBOOK = ROOT / "examples" / "walkthrough.ipynb"
TABLE = (ROOT / "docs" / "from-the-notebook.md").read_text(encoding="utf-8")
ABSOLUTE = re.compile(r"(?<![\w.:/<])/\w[\w.-]*/|\b[A-Z]:\\")

FACTS = """
import json
print(json.dumps({
    "losses": [loss for _, loss in log.losses],
    "before": before.overall["f1"],
    "after": report.overall["f1"],
    "served": [served.answer, served.start, served.end],
    "local": [local.text, local.start, local.end],
    "server": server.returncode,
}))
"""


def read() -> Any:
    """The committed notebook."""
    return nbformat.read(NOTEBOOK, as_version=4)


def code_cells(notebook: Any) -> list[Any]:
    """Its cells of code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def outputs(notebook: Any) -> Iterator[Any]:
    """What its cells gave."""
    for cell in code_cells(notebook):
        yield from cell.outputs


def check_outputs(notebook: Any) -> None:
    """Neither errors nor noise on stderr, and nothing that tells where it ran."""
    for output in outputs(notebook):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        data = output.get("data", {"text": output.get("text", "")})
        for kind, text in data.items():
            if not kind.startswith("image/"):
                assert not ABSOLUTE.search(text), text


@pytest.mark.parametrize("text", ["at /home/ada/x", "'/tmp/x'", "in C:\\Users\\ada"])
def test_an_absolute_path_is_known(text: str) -> None:
    assert ABSOLUTE.search(text)


@pytest.mark.parametrize(
    "text", ["http://127.0.0.1:80/x", "runs/reader", "<br/>", "a/b/c", "5/7/8"]
)
def test_what_is_no_absolute_path_is_let_pass(text: str) -> None:
    assert not ABSOLUTE.search(text)


def test_the_notebook_is_valid_and_has_been_run_from_top_to_bottom() -> None:
    notebook = read()
    nbformat.validate(notebook)
    counts = [cell.execution_count for cell in code_cells(notebook)]
    assert counts == list(range(1, len(counts) + 1))
    assert sum("image/png" in output.get("data", {}) for output in outputs(notebook)) >= 6
    assert NOTEBOOK.stat().st_size < 1_000_000
    check_outputs(notebook)


def test_every_name_that_the_notebook_imports_exists() -> None:
    statements = [
        node
        for cell in code_cells(read())
        for node in ast.parse(cell.source).body
        if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    assert len(statements) > 20
    for node in statements:
        for alias in node.names:
            if isinstance(node, ast.Import):
                import_module(alias.name)
            else:
                assert hasattr(import_module(str(node.module)), alias.name), ast.unparse(node)


def here() -> list[str]:
    """The code in the table's second column."""
    rows = [line.split(" | ") for line in TABLE.splitlines() if line.startswith("| ")]
    assert len(rows) > 20
    return [code for row in rows[1:] for code in re.findall(r"`([^`]+)`", row[1])]


def test_the_table_names_verbs_that_exist() -> None:
    verbs = {code.split()[1] for code in here() if code.startswith("spanwise ")}
    assert verbs
    assert verbs <= set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]


def test_the_table_names_functions_and_fields_that_exist() -> None:
    names = [code for code in here() if re.fullmatch(r"[\w.]+", code)]
    assert len(names) > 20
    for name in names:
        path = name.split(".")
        found: Any = import_module(path.pop(0) if path[0] == "huggingface_hub" else "spanwise")
        for part in path[1:] if path[0] == "spanwise" else path:
            if part in getattr(found, "__dataclass_fields__", {}):
                break  # a field without a default is no attribute of its class
            found = getattr(found, part, None) or import_module(f"{found.__name__}.{part}")


def test_the_table_names_settings_that_exist() -> None:
    config = TrainConfig(train=("train.json",), out="run")
    settings = re.findall(r"--(\w+)\.(\w+)", TABLE)
    assert len(settings) > 8
    for section, name in settings:
        assert hasattr(getattr(config, section), name), f"--{section}.{name}"


def test_the_table_names_tests_that_exist() -> None:
    tests = set(re.findall(r"(?<!--)\btest_\w+", TABLE))
    assert tests
    assert {test for test in tests if not (ROOT / "tests" / f"{test}.py").is_file()} == set()


@pytest.mark.slow
@pytest.mark.timeout(1800)  # for machines that are busy: three minutes are enough
def test_the_notebook_runs_offline_from_a_clean_kernel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody is there: no way out
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    notebook = read()
    for cell in code_cells(notebook):
        cell.outputs, cell.execution_count = [], None
    notebook.cells.append(nbformat.v4.new_code_cell(FACTS))
    NotebookClient(
        notebook, kernel_name="python3", timeout=1500, resources={"metadata": {"path": tmp_path}}
    ).execute()

    check_outputs(notebook)
    facts = json.loads(notebook.cells[-1].outputs[0].text)
    assert facts["losses"][-1] < facts["losses"][0]
    assert facts["after"] > facts["before"] + 10
    assert facts["served"] == facts["local"]
    assert facts["server"] == 0

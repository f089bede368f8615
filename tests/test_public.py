"""The public face: names, lightness of import, missing extras, the layers."""

import subprocess
import sys
from pathlib import Path

import pytest

import spanwise

ROOT = Path(__file__).parent.parent


def run_python(code: str) -> str:
    """Run code in a fresh interpreter and give what it printed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("start", ["import spanwise", "import spanwise.cli"])
def test_starting_loads_nothing_heavy(start: str) -> None:
    heavy = {"torch", "transformers", "datasets", "pyarrow", "onnxruntime", "accelerate", "pandas"}
    heavy |= {"matplotlib"}
    loaded = run_python(f"{start}; import sys; print(*sys.modules)").split()
    assert not heavy & set(loaded)


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys\nfrom spanwise.cli import app\n"
        "try: app(['train', '--help'])\nexcept SystemExit: pass\n"
        "print('torch' in sys.modules, 'transformers' in sys.modules)"
    )
    assert run_python(code).splitlines()[-1] == "False False"


def test_every_public_name_is_the_same_thing_when_read_twice() -> None:
    """A function named as its module would be the function at first and the module later."""
    code = (
        "import spanwise\n"
        "for name in spanwise.__all__:\n"
        "    first = getattr(spanwise, name)\n"
        "    __import__('spanwise.training'), __import__('spanwise.evaluation')\n"
        "    assert getattr(spanwise, name) is first, name\n"
        "    assert type(first).__name__ != 'module', name\n"
        "    exec(f'from spanwise import {name}')\n"
    )
    run_python(code)


def test_all_names_the_public_names_and_nothing_else() -> None:
    assert sorted(spanwise.__all__) == list(spanwise.__all__)
    assert set(dir(spanwise)) == {*spanwise.__all__, "__version__"}
    with pytest.raises(AttributeError, match="no attribute 'Readr'"):
        spanwise.Readr  # noqa: B018


def test_a_missing_extra_names_the_command_that_installs_it() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        "import spanwise\n"
        "try: spanwise.train\nexcept spanwise.MissingExtra as error: print(error)\n"
        "try: spanwise.Reader.from_pretrained('.')\n"
        "except spanwise.MissingExtra as error: print(error)\n"
    )
    lines = run_python(code).splitlines()
    assert len(lines) == 2
    assert all("pip install 'spanwise[torch]'" in line for line in lines)


def test_the_version_is_that_of_the_package() -> None:
    from importlib.metadata import version

    assert spanwise.__version__ == version("spanwise")


def test_python_dash_m_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "spanwise", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"spanwise {spanwise.__version__}\n"


def test_every_dependency_is_pinned_exactly() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert "torch==2.13.0" in lines
    assert all("==" in line for line in lines if line and not line.startswith("#"))

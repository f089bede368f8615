"""The README's commands and code run as they are written, on the sample."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import spanwise.sample
from spanwise import Reader

ROOT = Path(__file__).parent.parent
ALL_CORES = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The README's code blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)


def test_the_tree_has_a_line_for_every_module() -> None:
    modules = {
        path.name + ("/" if path.is_dir() else "")
        for path in (ROOT / "src" / "spanwise").iterdir()
        if not path.name.startswith("__") and path.suffix in {"", ".py"}
    }
    tree = set(re.findall(r"^  (\w+(?:/|\.py))  ", README, flags=re.MULTILINE))
    assert tree == modules


def test_the_readme_names_only_files_that_exist() -> None:
    for target in re.findall(r"\]\(((?!http)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_and_the_code_run(tmp_path: Path) -> None:
    sample = Path(spanwise.sample.__file__).parent
    for name, of in (("train.json", "train"), ("dev.json", "dev"), ("test.json", "dev")):
        shutil.copy(sample / f"{of}.json", tmp_path / name)
    (tmp_path / "report.txt").write_text("The report was written by Ada Green in 1912.")
    (commands,) = blocks("bash")
    lines = [line for line in commands.splitlines() if line.startswith("spanwise ")]
    assert len(lines) == 8
    for line in lines:
        arguments = shlex.split(line)[1:]
        if arguments[0] == "train":
            arguments += ["--fit.epochs", "0.2"]  # that it runs is the point here
        done = subprocess.run(
            [sys.executable, "-m", "spanwise", *arguments],
            cwd=tmp_path, capture_output=True, text=True, check=False, env=ALL_CORES,
        )  # fmt: skip
        assert done.returncode == 0, f"{line}\n{done.stderr}"
    setup = (
        "text = first_text = open('report.txt').read()\nsecond_text = 'It rained.'\n"
        "question = 'Who?'\n"
    )
    code = setup + "\n".join(blocks("python")).replace(", ...]", "]")
    code = code.replace('"deepset/tinyroberta-squad2"', '"runs/reader"')
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # for machines that are busy: five minutes are enough on two cores
def test_the_demo_answers_three_questions_from_the_sample(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    done = subprocess.run(
        [sys.executable, "-m", "spanwise", "demo", "--out", str(out)],
        capture_output=True, text=True, check=True, env=ALL_CORES,
    )  # fmt: skip
    assert done.stdout.count("gold: ") == 3
    assert done.stdout.count("gold: not in this text") == 1
    assert "no findings" in done.stdout
    assert (out / "spanwise.json").is_file()


@pytest.mark.slow
def test_the_reader_in_the_repository_answers(tmp_path: Path) -> None:
    parts = sorted((ROOT / "models" / "baseline").glob("model.safetensors.part-*"))
    assert all(part.stat().st_size < 16 * 2**20 for part in parts)
    (tmp_path / "model.safetensors").write_bytes(b"".join(part.read_bytes() for part in parts))
    for file in (ROOT / "models" / "baseline").glob("*.json"):
        shutil.copy(file, tmp_path)
    reader = Reader.from_pretrained(tmp_path)
    text = "The bridge was built by Ada Green between 1908 and 1912. It carries two tracks."
    golds = {"Who built the bridge?": "Ada Green", "How many tracks does it carry?": "two"}
    for question, gold in golds.items():
        best = reader.answer(question, text).best
        assert best is not None
        assert best.text == gold

"""The last look: secrets and paths are found and masked, vocabularies pass."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from spanwise.checkpoints import BUILTIN, fetch_folder
from spanwise.errors import ConfigError
from spanwise.publishing.leaks import check_folder, find_leaks, is_machine_path
from tests.conftest import make_tokenizer

REST = "Qw3rTy" * 6  # of a made-up secret: put together here, so that no scanner takes it for one

SECRETS = {
    "a Hugging Face token": "hf_" + REST,
    "a GitHub token": "ghp_" + REST,
    "an API key": "sk-" + REST,
    "an AWS key": "AKIA" + REST.upper()[:16].replace("3", "7"),
    "a Google API key": "AIza" + REST[:35],
    "a Slack token": "xoxb-" + REST,
    "a private key": "-----BEGIN RSA PRIVATE" + f" KEY-----\n{REST}",
    "a password in a URL": f"https://ada:{REST}@example.org/x",
}
PATHS = (
    "/home/ada/squad/train.json",
    "/Users/ada/models",
    "/tmp/run/reader",  # noqa: S108
    "/root/.cache/x",
    "file:///home/ada/x",
    "C:\\Users\\ada\\data",
    "D:/models/first/",
    "text\n/home/ada/x",
)
HARMLESS = (
    "https://huggingface.co/home/ada",
    "https://example.org/data/x.json",
    "data/train.json",
    "./data/train.json",
    "../tmp/x1",
    "and/or/home/work",
    "/v1/answer",
    "sk-learn",
    "hf_hub",
    "3:/4",
    "https://example.org:443/a@b",
)


def write_json(folder: Path, value: object, name: str = "config.json") -> Path:
    file = folder / name
    file.write_text(json.dumps(value, indent=2), encoding="utf-8")
    return file


@pytest.mark.parametrize(("kind", "secret"), SECRETS.items())
def test_a_secret_is_found_and_masked(kind: str, secret: str, tmp_path: Path) -> None:
    file = write_json(tmp_path, {"first": 1, "note": f"key {secret}, the end"})
    (leak,) = find_leaks(file)
    assert leak.startswith(f"config.json: line 3: {kind}: ")
    assert secret not in leak
    assert REST not in leak
    with pytest.raises(ConfigError, match=re.escape(kind)) as caught:
        check_folder(tmp_path)
    assert REST not in str(caught.value)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_is_found(path: str, tmp_path: Path) -> None:
    (leak,) = find_leaks(write_json(tmp_path, {"_name_or_path": path}))
    assert leak.startswith("config.json: line 2: a path of a machine: ")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_none_passes(text: str, tmp_path: Path) -> None:
    assert find_leaks(write_json(tmp_path, {"note": text})) == []
    assert not is_machine_path(text)


def test_the_folders_of_this_machine_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "somewhere" / "unusual"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    monkeypatch.setattr("spanwise.publishing.leaks._UNIX", "(?!)")
    (leak,) = find_leaks(write_json(tmp_path, {"note": f"{here}/train.json"}))
    assert "somewhere" in leak


def test_a_secret_beside_a_path_is_masked_too(tmp_path: Path) -> None:
    secret = SECRETS["a Hugging Face token"]
    file = tmp_path / "README.md"
    file.write_text(f"line\n{'x' * 90} {secret} /home/ada/x {secret}\n")
    leaks = find_leaks(file)
    assert len(leaks) == 3
    assert all(REST not in leak and "line 2" in leak for leak in leaks)
    assert any("/home/ada" in leak for leak in leaks)


def test_a_vocabulary_may_hold_any_piece(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    data = json.loads(tokenizer.to_str())
    pieces = ["/home", "/home/user/", "/usr/xyz", "C:\\Users\\ada\\", '"vocab": {', "merges"]
    pieces += [f"piece{number}" for number in range(50_000)]
    known = data["model"]["vocab"]
    known |= {piece: len(known) + number for number, piece in enumerate(pieces)}
    data["model"]["merges"] = [["/home/", "user"], ["/usr/", "local"]]
    file = write_json(tmp_path, data, "tokenizer.json")
    assert find_leaks(file) == []
    (tmp_path / "vocab.txt").write_text("\n".join(pieces))
    (tmp_path / "merges.txt").write_text("/home/ user\n/usr/lo cal\n")
    write_json(tmp_path, known, "vocab.json")
    check_folder(tmp_path)
    data["model"]["type"] = "/home/ada/x"
    text = json.dumps(data, indent=2)
    file.write_text(text)
    (leak,) = find_leaks(file)
    line = text[: text.index("/home/ada/x")].count("\n") + 1
    assert f"line {line}: a path of a machine" in leak
    file.write_text(text[: text.index("piece40000")])  # no JSON: nothing is passed over
    assert len(find_leaks(file)) > 1


def test_a_secret_in_a_vocabulary_is_found(tmp_path: Path) -> None:
    (tmp_path / "vocab.txt").write_text(f"the\n{SECRETS['a GitHub token']}\n")
    (leak,) = find_leaks(tmp_path / "vocab.txt")
    assert leak.startswith("vocab.txt: line 2: a GitHub token")


def test_metadata_of_weights_is_searched_and_their_numbers_are_not(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    told = np.frombuffer(b"/home/ada/secret", dtype=np.uint8)
    save_file({"weight": told}, file, metadata={"format": "pt"})
    assert find_leaks(file) == []
    save_file({"weight": told}, file, metadata={"from": "/home/ada/run"})
    (leak,) = find_leaks(file)
    assert leak.startswith("model.safetensors: in its metadata: a path of a machine: ")
    assert "/home/ada/run" in leak


def test_a_graph_is_searched(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes((fetch_folder(BUILTIN) / "model.onnx").read_bytes())
    secret = SECRETS["a Hugging Face token"]
    file.write_bytes(file.read_bytes() + b"\x01/home/ada/run\x00" + secret.encode() + b"\xff")
    leaks = find_leaks(file)
    assert [leak.split(": ")[2] for leak in leaks] == [
        "a Hugging Face token",
        "a path of a machine",
    ]
    assert REST not in "".join(leaks)


def test_random_bytes_are_no_leak(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(np.random.default_rng(0).bytes(4_000_000))
    assert find_leaks(file) == []


def test_where_a_foreign_author_trained_a_sentencepiece_model_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "work" / "here"
    here.mkdir(parents=True)
    monkeypatch.chdir(here)
    file = tmp_path / "spiece.model"
    file.write_bytes(b"\n\x01/private/home/author/corpus.txt\x12")
    assert find_leaks(file) == []
    file.write_bytes(file.read_bytes() + f"\x01{here}/corpus.txt\x12".encode())
    assert len(find_leaks(file)) == 1
    file.write_bytes(b"")
    assert find_leaks(file) == []


def test_the_builtin_reader_passes() -> None:
    check_folder(fetch_folder(BUILTIN))


def test_every_leak_is_named(tmp_path: Path) -> None:
    write_json(tmp_path, {"a": "/home/ada/x", "b": "/Users/ada"}, "a.json")
    write_json(tmp_path, {"c": "/root/xx"}, "b.json")
    with pytest.raises(ConfigError, match=r"a\.json: line 2") as caught:
        check_folder(tmp_path)
    assert len(caught.value.problems) == 3

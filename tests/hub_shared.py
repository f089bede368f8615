"""A stand-in for the Hub on this machine: repositories in memory, commits whole or not at all.

It speaks what huggingface_hub and hf_xet say when a folder is uploaded: small files within the
commit, large ones beforehand as chunks in blocks ("xorbs"), and a list ("shard") of the chunks that
each file is made of. The card is checked by rules of our own, as the Hub's are not public.
"""

import base64
import hashlib
import json
import os
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from huggingface_hub.repocard_data import model_index_to_eval_results

from spanwise.publishing.licences import LICENCES

TOKEN = "hf_" + "StandInToken" * 3  # made up
OWNER = "ada"
LARGE = 1 << 20


@dataclass
class Repository:
    """Files by name, and how many commits made them."""

    private: bool = False
    files: dict[str, bytes] = field(default_factory=dict)
    commits: int = 0


class Hub(ThreadingHTTPServer):
    """The server.

    Attributes:
        repositories: by `OWNER/NAME`.
        xorbs: blocks of chunks, by their hash.
        blobs: large files that have arrived, by sha256.
        received: method, path and bytes of every request, in order.
        large: bytes from which a file goes ahead of the commit.
        room: blocks that are taken before the connection breaks off; None: all.
        answers: part of a path → status given instead.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, Repository] = {}
        self.xorbs: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.received: list[tuple[str, str, int]] = []
        self.large = LARGE
        self.room: int | None = None
        self.answers: dict[str, int] = {}

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent_blocks(self) -> list[str]:
        """Hashes of the blocks whose sending was begun, in order."""
        return [path.split("/")[-1] for _, path, _ in self.received if "/xorbs/" in path]

    def environment(self, home: Path, *, token: str | None = TOKEN) -> dict[str, str]:
        """For a process that takes this for the Hub, and gives up soon when it breaks off."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        return kept | {
            "HF_ENDPOINT": self.url,
            "HF_HOME": str(home),
            "HF_XET_XORB_COMPRESSION_POLICY": "none",
            "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "1",
            "HF_XET_CLIENT_RETRY_BASE_DELAY": "300ms",
            # In a real upload, which takes longer, this happens every few seconds.
            "HF_XET_DATA_SESSION_XORB_METADATA_FLUSH_MAX_COUNT": "1",
            "HF_XET_DATA_SESSION_XORB_METADATA_FLUSH_INTERVAL": "10ms",
            **({"HF_TOKEN": token} if token else {}),
        }


@contextmanager
def running_hub() -> Iterator[Hub]:
    """A Hub that serves until the block ends."""
    hub = Hub()
    thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def _answer(self) -> None:
        hub, path = self.server, self.path.partition("?")[0]
        hub.received.append((self.command, path, int(self.headers.get("Content-Length") or 0)))
        if "/xorbs/" in path and hub.room is not None and len(hub.xorbs) >= hub.room:
            self.rfile.read(1000)
            self.connection.close()
            self.close_connection = True
            return
        body = self._body()
        for part, status in hub.answers.items():
            if part in path:
                self._reply(status, {"error": f"told to say {status}"})
                return
        if path.startswith("/cas/"):
            self._store(path, body)
        elif path.startswith("/lfs/"):  # its address is its leave
            self.server.blobs[hashlib.sha256(body).hexdigest()] = body
            self._reply(200, {})
        elif (
            path != "/api/validate-yaml" and self.headers.get("Authorization") != f"Bearer {TOKEN}"
        ):
            self._reply(401, {"error": "Invalid username or password."})
        else:
            self._serve(path.strip("/").split("/"), body)

    def _body(self) -> bytes:
        if "chunked" not in self.headers.get("Transfer-Encoding", ""):
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline(), 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _reply(self, status: int, value: Any, **headers: str) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.end_headers()
        self.wfile.write(data)

    def _serve(self, parts: list[str], body: bytes) -> None:
        match parts:
            case ["api", "whoami-v2"]:
                self._reply(200, {"name": OWNER, "type": "user"})
            case ["api", "validate-yaml"]:
                errors = [{"message": text} for text in _card_problems(json.loads(body)["content"])]
                self._reply(400 if errors else 200, {"errors": errors, "warnings": []})
            case ["api", "repos", "create"]:
                self._create(json.loads(body))
            case [_, _, "info", "lfs", "objects", "batch"]:
                objects = [self._transfer(one) for one in json.loads(body)["objects"]]
                self._reply(200, {"transfer": "basic", "objects": objects})
            case ["api", "models", owner, name, *rest]:
                self._in_repository(f"{owner}/{name}", rest, body)
            case _:
                self._reply(404, {"error": "no such place"})

    def _create(self, body: dict[str, Any]) -> None:
        repo = f"{body['organization']}/{body['name']}"
        url = {"url": f"{self.server.url}/{repo}"}
        if body["organization"] != OWNER:
            self._reply(403, {"error": "You don't have the rights to create a model there"})
        elif repo in self.server.repositories:
            self._reply(409, url)
        else:
            private = body.get("visibility") == "private"
            self.server.repositories[repo] = Repository(private=private)
            self._reply(200, url)

    def _in_repository(self, repo: str, rest: list[str], body: bytes) -> None:
        found = self.server.repositories.get(repo)
        if found is None:
            self._reply(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        match rest:
            case []:
                sha = f"{found.commits:040x}"
                self._reply(200, {"id": repo, "private": found.private, "sha": sha})
            case ["revision", _]:
                self._reply(200, {"id": repo, "sha": f"{found.commits:040x}"})
            case ["tree", "main"]:
                listed = [
                    {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                    for name, data in found.files.items()
                ]
                self._reply(200, listed)
            case _ if repo.split("/", maxsplit=1)[0] != OWNER:
                self._reply(403, {"error": "Forbidden: you need write access to this repository"})
            case ["preupload", "main"]:
                asked = json.loads(body)["files"]
                modes = [
                    _upload_mode(file, found.files.get(file["path"]), self.server.large)
                    for file in asked
                ]
                self._reply(200, {"files": modes})
            case ["xet-write-token", "main"]:
                until = str(int(time.time()) + 3600)
                cas = f"{self.server.url}/cas"
                self._reply(
                    200, {"casUrl": cas, "accessToken": "chunks", "exp": int(until)},
                    X_Xet_Cas_Url=cas, X_Xet_Access_Token="chunks", X_Xet_Token_Expiration=until,
                )  # fmt: skip
            case ["commit", "main"]:
                self._commit(repo, found, [json.loads(line) for line in body.splitlines()])

    def _transfer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """Where a large file goes without hf_xet; nowhere where it has arrived."""
        if asked["oid"] in self.server.blobs:
            return asked
        return asked | {"actions": {"upload": {"href": f"{self.server.url}/lfs/{asked['oid']}"}}}

    def _commit(self, repo: str, found: Repository, lines: list[dict[str, Any]]) -> None:
        files = dict(found.files)
        for line in lines[1:]:
            value = line["value"]
            if line["key"] == "deletedFile":
                del files[value["path"]]
            elif line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif value["oid"] in self.server.blobs:
                files[value["path"]] = self.server.blobs[value["oid"]]
            else:
                self._reply(400, {"error": f"{value['path']} has not arrived"})
                return
        found.files, found.commits = files, found.commits + 1
        oid = f"{found.commits:040x}"
        url = f"{self.server.url}/{repo}/commit/{oid}"
        self._reply(200, {"success": True, "commitOid": oid, "commitUrl": url})

    def _store(self, path: str, body: bytes) -> None:
        """The chunk store, in the form that hf_xet falls back to where the newer one is missing."""
        if path.startswith("/cas/v1/xorbs/"):
            self.server.xorbs[path.rsplit("/", maxsplit=1)[-1]] = body
            self._reply(200, {"was_inserted": True})
        elif path == "/cas/v1/shards":
            for sha256, data in _files_of(body, self.server.xorbs):
                assert hashlib.sha256(data).hexdigest() == sha256
                self.server.blobs[sha256] = data
            self._reply(200, {"result": 1})
        else:
            self._reply(404, {})


def _upload_mode(file: dict[str, Any], there: bytes | None, large: int) -> dict[str, Any]:
    is_large = file["size"] >= large
    oid = None
    if there is not None and is_large:
        oid = hashlib.sha256(there).hexdigest()
    elif there is not None:
        oid = hashlib.sha1(b"blob %d\0" % len(there) + there).hexdigest()  # noqa: S324 - git's
    mode = "lfs" if is_large else "regular"
    return {"path": file["path"], "uploadMode": mode, "shouldIgnore": False, "oid": oid}


def _card_problems(content: str) -> Iterator[str]:
    data = yaml.safe_load(content.split("---")[1])
    if data.get("license") not in LICENCES:
        yield f'"license" is {data.get("license")!r}'
    if data.get("pipeline_tag") != "question-answering":
        yield '"pipeline_tag" is missing'
    if "model-index" in data:
        model_index_to_eval_results(data["model-index"])


def _files_of(shard: bytes, xorbs: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """sha256 and bytes of each file that a shard lists."""
    place = 48  # after the header
    while shard[place : place + 32] != b"\xff" * 32:
        flags, entries = struct.unpack_from("<II", shard, place + 32)
        place += 48
        data = b""
        for number in range(entries):
            block = _hash_text(shard[place + 48 * number :][:32])
            _, _, first, last = struct.unpack_from("<IIII", shard, place + 48 * number + 32)
            data += b"".join(_chunks(xorbs[block])[first:last])
        place += 48 * entries * (2 if flags & 0x80000000 else 1)  # each with its verification
        yield _hash_text(shard[place:][:32]), data
        place += 48


def _hash_text(raw: bytes) -> str:
    """A hash as text: Xet keeps it as four little-endian words."""
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", raw))


def _chunks(block: bytes) -> list[bytes]:
    chunks, place = [], 0
    while place < len(block):
        size = int.from_bytes(block[place + 1 : place + 4], "little")
        assert block[place + 4] == 0, "compressed, which was turned off"
        chunks.append(block[place + 8 : place + 8 + size])
        place += 8 + size
    return chunks

"""The folder of the answers: parts, receipts, manifest; each file is whole or not there.

    part-00000.parquet …   the answers to rows 0 …, to rows part_rows …, in the order of the table
    rejected.jsonl         row, id and reason of every row that is in no part; written at the end
    manifest.json          what the answers depend on; at the end also the list of parts
    .work/                 until the end: receipts, the index of contexts, files being written

A part counts once its receipt stands, which holds its rejected rows and is written after it. So
whatever is cut short, by a kill or a full disk, leaves parts that are done and others that are
answered again, to the same bytes. This module knows nothing about questions or models.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from spanwise.bulk.questions import Rejected
from spanwise.bulk.tables import load_pyarrow
from spanwise.checkpoints import flush, hash_file
from spanwise.errors import ConfigError

MANIFEST = "manifest.json"
REJECTED = "rejected.jsonl"

_FORMAT = 1  # of the manifest; grows when an older spanwise would misread a newer one
_WORK = ".work"
_NAMES = ("file", "name")  # of the manifest: for people; what they name is known by its sha256


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """That a part is written.

    Attributes:
        part: its number.
        file: its name.
        rows: that it answers.
        rejected: rows of its range that it does not answer.
        bytes: of its file.
        sha256: of its file.
    """

    part: int
    file: str
    rows: int
    rejected: int
    bytes: int
    sha256: str


class Output:
    """The folder of the answers to one table.

    Args:
        folder: where; made where it is missing.
        parts: how many there will be.
        identity: all that an answer depends on, as the manifest keeps it.
    """

    def __init__(self, folder: str | Path, parts: int, identity: Mapping[str, Any]) -> None:
        self.folder = Path(folder).absolute()  # on Ray, other processes write there
        self.parts = parts
        self.identity = identity
        self.state = self.folder / _WORK
        self._digits = max(5, len(str(parts - 1)))

    def part_name(self, part: int) -> str:
        """The file of a part; names sort as parts do."""
        return f"part-{part:0{self._digits}d}.parquet"

    def begin(self) -> list[Receipt] | None:
        """Begin a run, or go on with one; the receipts of one that is complete already.

        Raises:
            ConfigError: what stands there is of another run or of nobody, or nothing can be
                written there.
        """
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigError(f"{self.folder} is a file; name a folder to write to")
        manifest = {"format": _FORMAT, "complete": False} | dict(self.identity)
        old = self._read_manifest()
        if old is not None:
            self._check_same(old, json.loads(json.dumps(manifest)))
        self._check_names(begun=old is not None)
        if old is not None and old["complete"]:
            self._check_parts(old["parts"])
            shutil.rmtree(self.state, ignore_errors=True)  # a kill may have left it
            return [Receipt(**part) for part in old["parts"]]
        with self._explained(self.folder):
            self.state.mkdir(parents=True, exist_ok=True)
        for receipt in list(self.receipts(range(self.parts))):
            if hash_file(self.folder / receipt.file) != receipt.sha256:
                self._receipt_file(receipt.part).unlink()  # it is answered again
        if old is None:
            self._claim(manifest | {"parts": []})
        return None

    def _claim(self, manifest: Mapping[str, Any]) -> None:
        """Put the manifest there, unless another run was quicker, which then has to be the same."""
        fresh = self.state / f"{MANIFEST}.{uuid4().hex[:8]}"
        self._write_json(fresh, manifest)
        try:
            os.link(fresh, self.folder / MANIFEST)
        except FileExistsError:
            if (theirs := self._read_manifest()) is not None:
                self._check_same(theirs, json.loads(json.dumps(manifest)))
        except OSError:  # a file system without links
            fresh.replace(self.folder / MANIFEST)
        finally:
            fresh.unlink(missing_ok=True)

    def receipts(self, parts: Iterable[int]) -> Iterator[Receipt]:
        """Of these parts, those that are done."""
        for part in parts:
            if (found := self._read_receipt(part)) is not None:
                yield found[0]

    def write_part(self, part: int, table: Any, rejected: Sequence[Rejected]) -> Receipt:
        """Write a part, then its receipt.

        Args:
            part: its number.
            table: a `pyarrow.Table`.
            rejected: rows of its range that are not in it.

        Raises:
            ConfigError: they cannot be written.
        """
        _, pq = load_pyarrow()
        path = self.folder / self.part_name(part)
        origin = {
            "spanwise": self.identity["spanwise"],
            "model_sha256": self.identity["model"]["sha256"],
            "settings_sha256": self.identity["settings"]["sha256"],
        }
        table = table.replace_schema_metadata(origin)
        with self.whole(path) as partial:
            pq.write_table(table, partial, compression="zstd")
        receipt = Receipt(
            part=part,
            file=path.name,
            rows=table.num_rows,
            rejected=len(rejected),
            bytes=path.stat().st_size,
            sha256=hash_file(path),
        )
        content = {"receipt": asdict(receipt), "rejected": [asdict(row) for row in rejected]}
        self._write_json(self._receipt_file(part), content)
        return receipt

    def finish(self) -> list[Receipt]:
        """Gather the receipts into `rejected.jsonl` and the manifest, and clear up.

        Raises:
            ConfigError: a part is missing, or they cannot be written.
        """
        receipts = []
        with (
            self.whole(self.folder / REJECTED) as partial,
            partial.open("w", encoding="ascii", newline="\n") as lines,
        ):
            for part in range(self.parts):
                found = self._read_receipt(part)
                if found is None:
                    raise ConfigError(
                        f"{self.folder / self.part_name(part)} has gone since it was written; run "
                        "the same command again"
                    )
                receipts.append(found[0])
                lines.writelines(f"{json.dumps(row)}\n" for row in found[1])
        manifest = {"format": _FORMAT, "complete": True} | dict(self.identity)
        parts = [asdict(receipt) for receipt in receipts]
        self._write_json(self.folder / MANIFEST, manifest | {"parts": parts})
        shutil.rmtree(self.state, ignore_errors=True)
        return receipts

    @contextmanager
    def whole(self, path: Path) -> Iterator[Path]:
        """Yield where to write what then takes the place of `path`, flushed to the disk.

        Raises:
            ConfigError: it cannot be written.
        """
        partial = self.state / f"{path.name}.{uuid4().hex[:8]}.partial"
        try:
            with self._explained(path):
                yield partial
                flush(partial)
                partial.replace(path)
                flush(path.parent)
        finally:
            partial.unlink(missing_ok=True)

    @contextmanager
    def _explained(self, path: Path) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigError(
                f"{path}: cannot be written: {error.strerror or error}. What is done is kept: "
                "mend that and run the same command again"
            ) from error

    def _write_json(self, path: Path, value: Any) -> None:
        with self.whole(path) as partial:
            partial.write_text(f"{json.dumps(value, indent=1)}\n", encoding="ascii")

    def _receipt_file(self, part: int) -> Path:
        return self.state / f"{self.part_name(part)}.json"

    def _read_receipt(self, part: int) -> tuple[Receipt, list[dict[str, Any]]] | None:
        """A part's receipt and rejected rows; None where it is not done, or its file is not it."""
        try:
            content = json.loads(self._receipt_file(part).read_bytes())
            size = (self.folder / self.part_name(part)).stat().st_size
            receipt, rejected = Receipt(**content["receipt"]), list(content["rejected"])
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return None
        return (receipt, rejected) if receipt.bytes == size else None

    def _read_manifest(self) -> dict[str, Any] | None:
        path = self.folder / MANIFEST
        try:
            manifest = json.loads(path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except ValueError:
            manifest = None
        needed = {"format", "complete", "parts", "input"}
        if not isinstance(manifest, dict) or not needed <= manifest.keys():
            raise ConfigError(f"{path} is no manifest of 'spanwise bulk'; name another OUT")
        if manifest["format"] != _FORMAT:
            raise ConfigError(
                f"{path}: format {manifest['format']} is not the one that this spanwise writes "
                f"({_FORMAT}); name another OUT"
            )
        return manifest

    def _check_same(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
        """See that a run goes on with what it began with, whatever it is called by now."""
        ignored = {"complete", "parts"}
        before, now = (
            dict(_leaves({name: value for name, value in kept.items() if name not in ignored}))
            for kept in (old, new)
        )
        changed = [
            f"{name} is {now.get(name)!r}, was {before.get(name)!r}"
            for name in dict.fromkeys([*before, *now])
            if now.get(name) != before.get(name)
        ]
        if changed:
            heading = (
                f"{self.folder} was begun with something else, and answers must not mix; go on as "
                "it was begun, or name another OUT:"
            )
            raise ConfigError([heading, *changed])

    def _check_names(self, *, begun: bool) -> None:
        """See that nobody else's files stand there, which readers of the parts would read too."""
        ours = {MANIFEST, REJECTED} if begun else set()
        pattern = re.compile(r"part-(\d+)\.parquet")
        for path in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            found = pattern.fullmatch(path.name) if begun else None
            is_part = found and self.part_name(int(found[1])) == path.name
            if path.name in ours or path.name.startswith(".") or is_part:
                continue
            raise ConfigError(
                f"{path} was not written by this run; name a new folder, or move that file"
            )

    def _check_parts(self, parts: Sequence[Mapping[str, Any]]) -> None:
        again = "name another OUT to answer the table again"
        if not (self.folder / REJECTED).is_file():
            raise ConfigError(f"{self.folder / REJECTED} is missing; {again}")
        for part in parts:
            path = self.folder / part["file"]
            if not path.is_file() or hash_file(path) != part["sha256"]:
                raise ConfigError(f"{path} is missing or not the part that was written; {again}")


def _leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every single value with its place, as `input[0].sha256`."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _NAMES:
                yield from _leaves(inner, f"{name}.{key}" if name else key)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _leaves(inner, f"{name}[{number}]")
    else:
        yield name, value

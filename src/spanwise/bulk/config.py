"""What a run is told, and what of it must stay the same when it goes on.

This module knows nothing about how rows are answered.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from spanwise.bulk.contexts import COLUMNS
from spanwise.bulk.questions import column_names
from spanwise.bulk.tables import TableFile, describe_files, load_pyarrow, scan_table
from spanwise.checkpoints import BUILTIN, checkpoint_files, fetch_folder, hash_file, read_settings
from spanwise.errors import ConfigError
from spanwise.reader import choose_backend
from spanwise.schema import ReaderSettings


@dataclass(frozen=True, kw_only=True)
class BulkConfig:
    """A table of questions and where its answers go.

    Attributes:
        table: of questions, Parquet or JSONL: a file, a folder, or a pattern such as `*.parquet`.
            Its columns are id, question and context; or context_id, where `contexts` is given.
        out: the folder of the answers; new, or of a run of the same that did not end.
        model: a folder, the id of a model on the Hub, or "builtin".
        contexts: a table of contexts with the columns id and context.
        columns: for `table`, our name of a column → theirs.
        part_rows: rows of `table` that one part answers.
        revision: branch, tag or commit on the Hub.
        device: as in `Reader.from_pretrained`.
        dtype: likewise.
    """

    table: str
    out: str
    model: str = BUILTIN
    contexts: str | None = None
    columns: Mapping[str, str] | None = None
    part_rows: int = 10_000
    revision: str | None = None
    device: str | None = None
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A run with everything looked up; it is sent to all that work on it.

    Attributes:
        config: what was asked for.
        files: of the table.
        context_files: of the table of contexts, or none.
        names: our name of each column → theirs.
        folder: of the model.
        backend: what runs it.
        model_sha256: over the names and contents of the model's files.
        settings: of the reader, as stored; None where nothing is.
    """

    config: BulkConfig
    files: tuple[TableFile, ...]
    context_files: tuple[TableFile, ...]
    names: Mapping[str, str]
    folder: Path
    backend: str
    model_sha256: str
    settings: ReaderSettings | None

    @cached_property
    def rows(self) -> int:
        """Of the table."""
        return sum(file.rows for file in self.files)

    @property
    def parts(self) -> int:
        """How many the answers have."""
        return -(-self.rows // self.config.part_rows)

    def part_range(self, part: int) -> range:
        """The rows that a part answers."""
        size = self.config.part_rows
        return range(part * size, min((part + 1) * size, self.rows))

    def identity(self) -> dict[str, Any]:
        """All that an answer depends on, as the manifest keeps it."""
        settings = asdict(self.settings or ReaderSettings())
        kept = {name: settings[name] for name in ("window", "decode", "calibration")}
        kept |= {"backend": self.backend, "device": self.config.device, "dtype": self.config.dtype}
        return {
            "spanwise": version("spanwise"),
            "model": {"name": self.config.model, "sha256": self.model_sha256},
            "settings": kept | {"sha256": _digest(kept)},
            "columns": dict(self.names),
            "part_rows": self.config.part_rows,
            "input": describe_files(self.files),
            "contexts": describe_files(self.context_files),
        }


def prepare_job(config: BulkConfig) -> Job:
    """Look up all that a run needs: its model and its files, each of which is read through once.

    Raises:
        ConfigError: settings that cannot work.
        CheckpointError: no such model.
        FormatError: a table that cannot be read.
        MissingExtra: pyarrow is not installed; the answers are Parquet.
    """
    load_pyarrow()
    if config.part_rows < 1:
        raise ConfigError(f"part_rows is {config.part_rows}; a part answers 1 row or more")
    names = column_names(config.columns, by_id=config.contexts is not None)
    folder = fetch_folder(config.model, revision=config.revision)
    contexts = config.contexts
    return Job(
        config=config,
        names=names,
        folder=folder,
        backend=choose_backend(folder, None),
        model_sha256=hash_model(folder),
        settings=read_settings(folder),
        files=scan_table(config.table, names.values()),
        context_files=() if contexts is None else scan_table(contexts, COLUMNS),
    )


def hash_model(folder: Path) -> str:
    """One sha256 over the names and contents of a model's files."""
    whole = hashlib.sha256()
    for file in checkpoint_files(folder):
        whole.update(f"{file.name} {hash_file(file)}\n".encode())
    return whole.hexdigest()


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()

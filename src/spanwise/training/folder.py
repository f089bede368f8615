"""The run folder: whether a run may write there, begins there or goes on, and what came of it.

This module knows nothing about models or steps.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from filelock import FileLock, Timeout

from spanwise.corpus.scanning import hash_source
from spanwise.corpus.writing import write_whole
from spanwise.errors import ConfigError, SpanwiseError
from spanwise.schema import Example
from spanwise.training.checkpointing import clear_checkpoints, newest_checkpoint
from spanwise.training.config import TrainConfig
from spanwise.training.recipes import STAGE

logger = logging.getLogger("spanwise")

RECIPE_FILE = "recipe.toml"
LOG_FILE = "metrics.jsonl"

_RUN_FILE = "run.json"
_LOCK_FILE = ".lock"

# Settings that change nothing of what is learnt.
_FREE = ("out", "fit.checkpoint_minutes", "fit.keep_checkpoints")


class RunFolder:
    """A run folder that this process alone writes to, as long as `open_run` is open.

    Args:
        config: of the run.

    Attributes:
        path: the folder.
        checkpoint: the newest whole one; None where the run begins.
        result: what `finish` was given, where the run has come to its end already.
    """

    def __init__(self, config: TrainConfig) -> None:
        self.path = Path(config.out)
        self.checkpoint: Path | None = None
        self._config = config
        self._facts: dict[str, Any] = {
            "recipe": _plain(config),
            "processes": PartialState().num_processes,
            "result": None,
        }
        self._begun: dict[str, Any] = {}

    @property
    def result(self) -> dict[str, Any] | None:
        """See the class."""
        result: dict[str, Any] | None = self._begun.get("result")
        return result

    def look(self, *, resume: bool = False, tidy: bool = False) -> bool:
        """Find out whether a run begins here or goes on.

        Args:
            resume: refuse to begin.
            tidy: take away what is left of checkpoints that are not whole. Without it nothing is
                touched, as another run may be at work here.

        Returns:
            Whether it begins anew, as the one that began here has left nothing to go on from.

        Raises:
            ConfigError: something else is in the folder, the recipe was another, or there is
                nothing to resume.
        """
        file, out = self.path / _RUN_FILE, f"out is {self._config.out!r}"
        if file.is_file():
            self._begun = _read_run(file)
            if self.result is not None and not any(self.path.glob("*.safetensors")):
                self._begun["result"] = None  # its reader was deleted: it is put there again
            if self.result is None:
                checkpoints = self.path / "checkpoints"
                self.checkpoint = newest_checkpoint(checkpoints)
                if tidy:
                    clear_checkpoints(checkpoints, newest=self.checkpoint)
        elif any(map(self._is_foreign, self.path.iterdir())):
            raise ConfigError(
                f"{out}, which is not empty, and no run has begun there; name a new folder, or "
                "delete it"
            )
        if resume and not self._begun:
            raise ConfigError(f"{out}, where no run has begun: leave out resume")
        if self.checkpoint is None and self.result is None:
            if resume:
                message = f"{out}, where no whole checkpoint is: leave out resume to begin anew"
                raise ConfigError(message)
            begins_anew = bool(self._begun)
            self._begun = {}
            return begins_anew
        changes = list(_changes(_flat(self._begun["recipe"]), _flat(self._facts["recipe"])))
        processes = self._facts["processes"]
        if self.result is None and self._begun["processes"] != processes:
            changes.append(
                f"the number of processes was {self._begun['processes']}, now {processes}: "
                f"torchrun --nproc-per-node {self._begun['processes']} -m spanwise train"
            )
        self._refuse(changes)
        return False

    def _is_foreign(self, path: Path) -> bool:
        """Whether something is in the folder that is neither hidden nor a stage before this one."""
        is_stage = path.name.startswith(STAGE) and Path(self._config.model).parent == self.path
        return not (path.name.startswith(".") or is_stage)

    def tell(self, fault: SpanwiseError | None) -> None:
        """Give what the first process has found, or why it cannot go on, to the others.

        Raises:
            SpanwiseError: it cannot.
        """
        message = None if fault is None else str(fault)
        found = broadcast_object_list([self._begun, self.checkpoint, message])
        self._begun, self.checkpoint, message = found
        if fault is not None:
            raise fault
        if message is not None:
            raise ConfigError(message)

    def compare(self, **parts: Sequence[Example]) -> None:
        """See that a run goes on with the data that it began with, and note what it is.

        Raises:
            ConfigError: naming what changed.
        """
        sources = {"train": self._config.train, "dev": self._config.dev}
        self._facts |= {
            name: {
                "examples": _digest(examples),
                "files": {source: hash_source(source) for source in sources[name]},
            }
            for name, examples in parts.items()
        }
        if self._begun:
            self._refuse([
                f"{name} is other data than it was ({_changed_files(was['files'], now['files'])})"
                for name in parts
                if (was := self._begun[name])["examples"] != (now := self._facts[name])["examples"]
            ])  # fmt: skip

    def begin(self) -> None:
        """Write down what the run depends on, unless it goes on."""
        if self.checkpoint is None and PartialState().is_main_process:
            self._write()  # first: after a kill it tells that the rest may be written over
            write_whole(
                self.path / RECIPE_FILE, self._config.to_toml().encode(errors="backslashreplace")
            )
            (self.path / LOG_FILE).write_bytes(b"")

    def finish(self, result: Mapping[str, Any]) -> None:
        """Write down that the run has come to its end."""
        self._facts["result"] = dict(result)
        if PartialState().is_main_process:
            self._write()

    def _write(self) -> None:
        text = json.dumps(self._facts, indent=2)
        write_whole(self.path / _RUN_FILE, f"{text}\n".encode(errors="backslashreplace"))

    def _refuse(self, changes: Sequence[str]) -> None:
        if changes:
            begun = f"in {self._config.out!r} a run was begun otherwise. Go on with it as it was"
            mend = "begun, or name a new folder, with the old one as the model to train on from:"
            raise ConfigError([f"{begun} {mend}", *changes])


def has_begun(config: TrainConfig) -> bool:
    """Whether a run has a checkpoint or has come to its end, without touching its folder.

    Raises:
        ConfigError: as in `RunFolder.look`.
    """
    run = RunFolder(config)
    if run.path.is_dir():
        run.look()
    return run.result is not None or run.checkpoint is not None


@contextmanager
def open_run(config: TrainConfig, *, resume: bool) -> Iterator[RunFolder]:
    """Make the run folder, or open that of a run to go on with, and keep other runs out of it.

    Of several processes the first does it, and tells the others what it found.

    Args:
        config: of the run.
        resume: refuse to begin.

    Raises:
        ConfigError: no folder can be made, another run is at work there, and as in
            `RunFolder.look`.
    """
    run = RunFolder(config)
    fault: SpanwiseError | None = None
    with ExitStack() as held:
        if PartialState().is_main_process:
            try:
                held.enter_context(_locked(config))
                if run.look(resume=resume, tidy=True):
                    message = "out is %r, where no whole checkpoint is: the run begins anew"
                    logger.warning(message, config.out)
            except SpanwiseError as error:
                fault = error
        run.tell(fault)
        yield run


@contextmanager
def _locked(config: TrainConfig) -> Iterator[None]:
    """Make the folder, and hold its lock; what was made is taken away if nothing came of it."""
    file = Path(config.out) / _LOCK_FILE
    try:
        config.out.encode()  # safetensors opens no other path
        is_new = not file.parent.exists()
        file.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(file, timeout=0)
        lock.acquire()
    except Timeout:
        message = f"out is {config.out!r}, where another run is at work; name a new folder"
        raise ConfigError(message) from None
    except (OSError, ValueError) as error:  # ValueError: of the name
        message = f"out is {config.out!r}, where no folder can be made: {error}; name another place"
        raise ConfigError(message) from error
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps a file that is open
            file.unlink(missing_ok=True)
        lock.release()
        if is_new:
            with suppress(OSError):  # it is not empty
                file.parent.rmdir()


def _read_run(file: Path) -> dict[str, Any]:
    try:
        begun: dict[str, Any] = json.loads(file.read_bytes())
        if not isinstance(begun["recipe"], dict) or not isinstance(begun["processes"], int):
            raise TypeError("a recipe and a number of processes are needed")  # noqa: TRY301
        return {name: begun[name] for name in ("recipe", "processes", "result", "train", "dev")}
    except (ValueError, TypeError, KeyError) as error:
        message = f"{file} is not what a run has written: {error}; name a new folder for the run"
        raise ConfigError(message) from error


def _digest(examples: Sequence[Example]) -> str:
    digest = hashlib.sha256()
    for example in examples:
        answers = example.answers and [(gold.text, gold.start) for gold in example.answers]
        fields = (example.id, example.title, example.question, example.context, answers)
        digest.update(json.dumps(fields).encode())
    return digest.hexdigest()


def _changed_files(was: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    changed = [name for name in now if now[name] is None or now[name] not in was.values()]
    return ", ".join(changed or now)


def _plain(config: TrainConfig) -> dict[str, Any]:
    """The recipe as JSON gives it back; unlike TOML it holds the odd bytes of file names."""
    plain: dict[str, Any] = json.loads(json.dumps(asdict(config)))
    model, out = Path(config.model), Path(config.out)
    if model.name.startswith(STAGE) and model.parent in {out, out.parent}:
        plain["model"] = model.name  # the stage before, wherever `out` is
    return plain


def _flat(recipe: Mapping[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in recipe.items():
        is_section = isinstance(value, Mapping) and name != "columns"
        flat |= {f"{name}.{key}": v for key, v in value.items()} if is_section else {name: value}
    return {name: value for name, value in flat.items() if name not in _FREE}


def _changes(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name, value in now.items():
        if was.get(name, value) != value:  # an older spanwise may not have had the setting
            yield f"{name} was {_shown(was[name])}, now {_shown(value)}"


def _shown(value: Any) -> str:
    return ", ".join(map(repr, value)) if isinstance(value, list) else repr(value)

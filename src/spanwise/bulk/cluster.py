"""The same work on a Ray cluster: a pool of actors, each of which answers and writes whole parts.

The numbers of the parts go through Ray Data; what comes back are receipts. The parts themselves are
written by the actors, by the code that one machine uses, to a folder that all machines see: they
are the same files, and one that was written but not yet reported is not answered again. Ray's
checkpoint keeps what was reported out of the next run. This module knows nothing about how a row is
answered.
"""

import logging
import os
import platform
import shutil
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

from spanwise.backends.onnx import count_cores
from spanwise.bulk.answering import Progress, answer_part
from spanwise.bulk.config import Job, hash_model
from spanwise.bulk.output import Output
from spanwise.bulk.tables import TableFile
from spanwise.bulk.worker import Worker
from spanwise.checkpoints import BUILTIN, fetch_folder
from spanwise.errors import ConfigError, MissingExtra, SpanwiseError

_RAY_CPUS = 2  # that Ray Data's own tasks need beside the actors, or all would wait for each other
_OBJECT_STORE = 200_000_000  # bytes; what goes through it are numbers of parts
_ATTEMPTS = 3  # at a part whose actor is killed, as by a system out of memory; Ray has no bound
_TRIES = ".tries"  # a file with a byte for each attempt at a part
_LOOK = 2.0  # seconds between two looks at the receipts


def answer_on_ray(
    job: Job, output: Output, contexts: Path | None, address: str, progress: Progress
) -> None:
    """Answer the parts that are not done on the actors of a cluster.

    Args:
        job: what to answer.
        output: where to, on a place that all machines see, as the table is.
        contexts: their index, likewise.
        address: "local", or as `ray.init` takes it.
        progress: called from a thread, as receipts turn up.

    Raises:
        ConfigError: no such cluster, or one too small.
        MissingExtra: Ray is not installed.
        SpanwiseError: an actor failed, or was killed each time that it began a part.
    """
    state = output.state / "ray"
    for file in output.state.glob(f"*{_TRIES}"):
        file.unlink()
    with _connected(address) as ray, _watched(job, output, progress):
        gpus = 1 if (job.config.device or "").startswith("cuda") else 0
        actors = _count_actors(ray.cluster_resources(), address, gpus=gpus)
        context = ray.data.DataContext.get_current()
        before = context.enable_progress_bars, context.checkpoint_config
        context.enable_progress_bars = False
        context.checkpoint_config = ray.data.checkpoint.CheckpointConfig(
            id_column="id",
            checkpoint_path=str(state / "checkpoint"),
            delete_checkpoint_on_success=False,  # it goes with all the rest, once that is complete
        )
        try:
            ray.data.range(job.parts, override_num_blocks=job.parts).map_batches(
                PartWorker,
                fn_constructor_args=(_absolute(job), output, contexts),
                batch_size=1,
                compute=ray.data.ActorPoolStrategy(size=min(actors, job.parts)),
                num_cpus=1,
                num_gpus=gpus,
            ).write_json(
                str(state / "receipts"),
                ray_remote_args={"num_cpus": 0},
                concurrency=1,  # a receipt takes milliseconds, and each writer a process
            )
        except (ray.exceptions.RayError, ray.exceptions.UserCodeException) as error:
            raise SpanwiseError(
                f"the run on Ray failed: {_cause(error)}. What is done is kept: run the same "
                "command again"
            ) from error
        finally:
            context.enable_progress_bars, context.checkpoint_config = before
    if len(list(output.receipts(range(job.parts)))) < job.parts:
        shutil.rmtree(state)  # a part was removed behind Ray's back: let the next run look again


def _count_actors(resources: Mapping[str, float], address: str, *, gpus: int) -> int:
    actors = int(resources.get("GPU", 0) if gpus else resources.get("CPU", 0) - _RAY_CPUS)
    if actors < 1:
        raise ConfigError(
            f"the cluster at {address!r} has {resources.get('CPU', 0):g} CPUs and "
            f"{resources.get('GPU', 0):g} GPUs; besides {_RAY_CPUS} CPUs for Ray Data itself this "
            f"needs a {'GPU' if gpus else 'CPU'} or more"
        )
    return actors


class PartWorker:
    """An actor: a worker that is given numbers of parts.

    Args:
        job: what to answer; the model is found anew, as its folder may be elsewhere here.
        output: where the parts go.
        contexts: their index.

    Raises:
        ConfigError: this machine has another model by that name.
    """

    def __init__(self, job: Job, output: Output, contexts: Path | None) -> None:
        folder = fetch_folder(job.config.model, revision=job.config.revision)
        if (found := hash_model(folder)) != job.model_sha256:
            raise ConfigError(
                f"{job.config.model} has sha256 {found} on {platform.node()}, not "
                f"{job.model_sha256} as where the run was begun; give all machines the same model"
            )
        self._job = replace(job, folder=folder)
        self._output = output
        self._worker = Worker(self._job, contexts, threads=1)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[Any]]:
        """Answer a part, unless that is done, and give its receipt.

        Raises:
            SpanwiseError: it was begun too often: something in it kills the actor.
        """
        part = int(batch["id"][0])
        receipt = next(self._output.receipts([part]), None)
        if receipt is None:
            name = self._output.part_name(part)
            with (self._output.state / f"{name}{_TRIES}").open("ab") as tries:
                if tries.tell() == _ATTEMPTS:
                    raise SpanwiseError(
                        f"{name} was begun {_ATTEMPTS} times and its actor killed each time, "
                        "perhaps by a system out of memory; give actors more memory"
                    )
                tries.write(b".")
            receipt = answer_part(self._job, self._output, part, self._worker)
        return {name: [value] for name, value in ({"id": part} | asdict(receipt)).items()}


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # of a Ray that is started here
    try:
        import ray
        import ray.data.checkpoint
    except ImportError as error:
        raise MissingExtra("ray", "ray") from error
    own = not ray.is_initialized()
    if own and address == "local":
        ray.init(
            "local",
            num_cpus=count_cores() + _RAY_CPUS,
            include_dashboard=False,
            object_store_memory=_OBJECT_STORE,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    elif own:
        try:
            host, _, port = address.removeprefix("ray://").rpartition(":")
            if port.isdigit():  # Ray itself would try for minutes
                socket.create_connection((host, int(port)), timeout=10).close()
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster answers at {address!r}: {error}") from error
    for name in ("ray", "ray.data"):  # what went wrong is raised, and told once
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        yield ray
    finally:
        if own:
            ray.shutdown()


@contextmanager
def _watched(job: Job, output: Output, progress: Progress) -> Iterator[None]:
    """Tell of the receipts that turn up, whoever writes them."""
    missing = set(range(job.parts))
    done = 0
    ended = Event()

    def look() -> None:
        nonlocal done
        for receipt in output.receipts(sorted(missing)):
            missing.discard(receipt.part)
            done += receipt.rows + receipt.rejected
        progress(done, job.rows)

    def watch() -> None:
        while not ended.wait(_LOOK):
            look()

    look()
    thread = Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    look()


def _absolute(job: Job) -> Job:
    """The job with paths that hold in whatever folder an actor is started."""

    def there(files: tuple[TableFile, ...]) -> tuple[TableFile, ...]:
        return tuple(replace(file, path=str(Path(file.path).absolute())) for file in files)

    config, folder = job.config, Path(job.config.model)
    if config.model != BUILTIN and folder.is_dir():
        config = replace(config, model=str(folder.absolute()))
    return replace(job, config=config, files=there(job.files), context_files=())


def _cause(error: BaseException) -> str:
    """The last line of what an actor raised; Ray wraps it, traceback and all."""
    return str(error).strip().splitlines()[-1]

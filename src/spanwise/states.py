"""States of a frozen encoder: encoded once, kept in a memory-mapped file, and read by its head.

An encoder that does not learn gives a window the same states in every epoch, for every head, seed
and learning rate. So each window is encoded once, without dropout and almost without padding, and
heads are trained on what was kept. This module knows nothing about text, labels or training.
"""

import copy
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tokenize import TokenError
from typing import Any, Literal
from uuid import uuid4

import numpy as np
import torch
from filelock import FileLock, Timeout
from numpy.typing import ArrayLike, NDArray
from torch import nn
from transformers.modeling_outputs import BaseModelOutput

from spanwise.batching import collate, plan_batches
from spanwise.checkpoints import SETTINGS_FILE, atomic_folder
from spanwise.errors import ConfigError
from spanwise.model import accepts_type_ids
from spanwise.model.heads import base_of, config_of
from spanwise.model.traits import evaluating, few_tokens
from spanwise.schema import Windows

logger = logging.getLogger("spanwise")

Longs = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]
Progress = Callable[[int, int], None]
"""Called with windows encoded and windows in all."""

_FILE = "states.npy"

# What json and numpy raise over a file that was cut short, changed or is gone.
_BROKEN = (FileNotFoundError, RecursionError, SyntaxError, TokenError, ValueError)

_FORMAT = 1  # of the file; grows when the same model and windows give other states
_GB = 1e9  # bytes
_SILENCE = 10.0  # seconds after which the log gets a line
_ABANDONED = 86_400.0  # seconds without a change after which a half-written folder is nobody's

# Tokens of a batch. MiniLM on two cores: 92 windows/s at 2,048, 87 at 8,192, 73 at 16,384, as a
# processor's cache is small and longer batches are padded more. An accelerator wants more at once.
_BUDGET = {"cpu": 2048}
_BUDGET_ELSEWHERE = 1 << 15


@dataclass(frozen=True, kw_only=True)
class States:
    """Last hidden states of W windows, end to end; item w is the (n, H) states of window w.

    Attributes:
        row_splits: (W + 1,) window w owns the rows `row_splits[w]:row_splits[w + 1]`.
        rows: (N, H) float16 or float32; read from the disk as they are used.
    """

    row_splits: Longs
    rows: Floats

    def __reduce__(self) -> str | tuple[Any, ...]:
        """By the name of the file: a process that is started, not forked, maps it as well."""
        if isinstance(self.rows.base, np.memmap):
            return _open, (self.row_splits, Path(str(self.rows.base.filename)).parent)
        return super().__reduce__()

    def __len__(self) -> int:
        """The number of windows, W."""
        return len(self.row_splits) - 1

    def __getitem__(self, window: int) -> Floats:
        """The states of one window."""
        if not 0 <= window < len(self):
            raise IndexError(f"there is no window {window}; there are {len(self)}")
        return self.rows[self.row_splits[window] : self.row_splits[window + 1]]

    def pad(self, windows: ArrayLike) -> Floats:
        """(B, T, H) states of (B,) windows, padded on the right with zeros to the longest."""
        parts = [self[window] for window in np.asarray(windows, dtype=np.int64)]
        longest = max(len(part) for part in parts)
        padded = np.empty((len(parts), longest, self.rows.shape[1]), dtype=self.rows.dtype)
        for row, part in zip(padded, parts, strict=True):
            row[: len(part)] = part
            row[len(part) :] = 0
        return padded


def _open(row_splits: Longs, folder: Path) -> States:
    return States(row_splits=row_splits, rows=_map(folder))


class HeadModel(nn.Module):
    """A span model without its encoder: called as the model is, and given the states besides.

    Its parameters are the model's own: what it learns, the model has learnt.

    Args:
        model: a span model; it stays as it is.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self._encoder = _GivenStates()
        # A copy of the modules that shares the tensors, with the stand-in for the encoder.
        memo: dict[int, Any] = {id(x): x for x in (*model.parameters(), *model.buffers())}
        self.model = copy.deepcopy(model, memo | {id(base_of(model)): self._encoder})

    def forward(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, states: torch.Tensor
    ) -> Any:
        """What the model says to (B, T) tokens whose states are (B, T, H)."""
        self._encoder.states = states
        return self.model(input_ids=input_ids, attention_mask=attention_mask)


class _GivenStates(nn.Module):
    """Stands where the encoder was."""

    states: torch.Tensor

    def forward(self, *_: Any, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=self.states.float())


def detach_head(model: nn.Module) -> HeadModel | None:
    """The model without its encoder; None where its logits need more than the last states.

    Found out by trying, not looked up: an encoder-decoder asks for more, and a head of another kind
    gives other logits.
    """
    inputs = few_tokens(model)
    head = HeadModel(model).eval()
    with evaluating(model), torch.no_grad():
        try:
            whole, encoded = _run(model, inputs)
            alone = head(**inputs, states=encoded.last_hidden_state)
            sides = [(alone.start_logits, whole.start_logits), (alone.end_logits, whole.end_logits)]
        except (AssertionError, AttributeError, IndexError, KeyError, TypeError):
            return None  # of the stand-in, or as Longformer of the tokens, it asks for more
    same = all(torch.allclose(ours, theirs, atol=1e-5) for ours, theirs in sides)
    return head.train() if same else None


def encode_states(
    model: nn.Module,
    windows: Windows,
    *,
    pad_token_id: int,
    rows: Longs | None = None,
    dtype: Literal["float16", "float32"] = "float32",
    bf16: bool = False,
    cache_gb: float = 20.0,
    progress: Progress | None = None,
) -> States | None:
    """Encode windows into a file, or take the file that an earlier call has written.

    It lies in `states` under `$SPANWISE_CACHE`, else `$XDG_CACHE_HOME/spanwise`, else
    `~/.cache/spanwise`, and may be deleted at any time. Its name is a hash of what the states
    depend on: the encoder's weights and configuration, and the tokens, which are all that it sees
    of tokenizer, settings and data.

    Args:
        model: a span model that `detach_head` takes, on the device that is to encode.
        windows: W windows.
        pad_token_id: fills the batches.
        rows: positions of the windows to encode; None: all.
        dtype: number format of the file.
        bf16: compute under bf16 autocast.
        cache_gb: GB that the file may take.
        progress: called after each batch.

    Returns:
        States by position in `rows`; None where the file would take more than `cache_gb`, or more
        than the disk has left, which is logged with the numbers.

    Raises:
        ConfigError: the file cannot be written, or `dtype` cannot hold the states.
    """
    rows = np.arange(len(windows)) if rows is None else rows
    row_splits = np.concatenate([[0], np.cumsum(windows.lengths[rows])])
    with evaluating(model), torch.no_grad():
        width = _run(model, few_tokens(model))[1].last_hidden_state.shape[-1]
    shape = (int(row_splits[-1]), width)
    size = shape[0] * width * np.dtype(dtype).itemsize / _GB
    place = _cache_folder() / _key(model, windows, rows, f"{_FORMAT} {pad_token_id} {dtype} {bf16}")
    what = f"the states of {len(rows):,} windows, {size:.2f} GB of {dtype},"
    try:
        with _alone(place, what):
            found = _read(place, shape, dtype)
            if found is not None:
                logger.info("%s are read from %s", what, place)
                return States(row_splits=row_splits, rows=found)
            if not _has_room(place.parent, size, cache_gb=cache_gb, what=what):
                return None
            logger.info("%s are written to %s", what, place)
            batches = _encode(
                model, windows, rows, pad_token_id=pad_token_id, bf16=bf16, progress=progress
            )
            _write(place, batches, row_splits, shape=shape, dtype=dtype)
            return States(row_splits=row_splits, rows=_map(place))
    except OSError as error:
        raise ConfigError(
            f"{place}: the states of a frozen encoder cannot be kept there: {error.strerror}; set "
            "SPANWISE_CACHE to a folder that can be written to, or cache_gb to 0"
        ) from error


@contextmanager
def _alone(place: Path, what: str) -> Iterator[None]:
    """Seeds of a sweep may start together: one encodes, the others wait and read."""
    place.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place.with_name(f"{place.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        logger.info("%s are being encoded by another process: this one waits", what)
        lock.acquire()
    try:
        yield
    finally:
        with suppress(PermissionError):  # Windows keeps a file that is open
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def _run(model: nn.Module, inputs: dict[str, torch.Tensor]) -> tuple[Any, Any]:
    """What a model says, and what its encoder, called by the model itself, has said to it."""
    encoded: list[Any] = []

    def note(_: nn.Module, __: Any, output: Any) -> None:
        encoded.append(output)

    hook = base_of(model).register_forward_hook(note)
    try:
        return model(**inputs), encoded[0]
    finally:
        hook.remove()


def _encode(
    model: nn.Module,
    windows: Windows,
    rows: Longs,
    *,
    pad_token_id: int,
    bf16: bool,
    progress: Progress | None,
) -> Iterator[tuple[Longs, torch.Tensor]]:
    """Positions in `rows`, and the (n, H) states of their windows end to end; longest first."""
    device = next(model.parameters()).device
    takes_type_ids = accepts_type_ids(model)
    lengths = windows.lengths[rows]
    began = told = time.monotonic()
    done = tokens = 0
    budget = _BUDGET.get(device.type, _BUDGET_ELSEWHERE)
    for part in plan_batches(lengths, batch_tokens=budget):
        batch = collate(windows, rows[part], pad_token_id=pad_token_id)
        arrays = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
        if takes_type_ids:
            arrays["token_type_ids"] = batch.type_ids
        inputs = {
            name: torch.as_tensor(array, dtype=torch.int64, device=device)
            for name, array in arrays.items()
        }
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=bf16)
        with evaluating(model), torch.no_grad(), autocast:
            states = _run(model, inputs)[1].last_hidden_state
        yield part, states[inputs["attention_mask"].bool()]
        done, tokens, now = done + len(part), tokens + int(lengths[part].sum()), time.monotonic()
        if progress is not None:
            progress(done, len(rows))
        if now - told >= _SILENCE:
            told, pace = now, tokens / (now - began)
            minutes, seconds = divmod(round((int(lengths.sum()) - tokens) / pace), 60)
            logger.info(
                "encoded %s of %s windows, %.1f a second, %d:%02d left",
                f"{done:,}", f"{len(rows):,}", done / (now - began), minutes, seconds,
            )  # fmt: skip


def _write(
    place: Path,
    batches: Iterator[tuple[Longs, torch.Tensor]],
    row_splits: Longs,
    *,
    shape: tuple[int, int],
    dtype: str,
) -> None:
    header = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": shape}
    row_size = shape[1] * np.dtype(dtype).itemsize
    with atomic_folder(place) as folder:
        # Not through a memory map: where the disk is full that would be a signal, not an error.
        with (folder / _FILE).open("wb") as file:
            np.lib.format.write_array_header_1_0(file, header)
            begin = file.tell()
            for part, states in batches:
                packed = states.to(getattr(torch, dtype))
                if not torch.isfinite(packed).all():
                    raise ConfigError(
                        f"the encoder gives states up to {states.abs().max():.3g}, which {dtype} "
                        "does not hold; keep float32 (fit.precision 'fp32') or set cache_gb to 0"
                    )
                ends = np.cumsum(np.diff(row_splits)[part])
                windows = np.split(packed.cpu().numpy(), ends[:-1])
                for position, state in zip(part, windows, strict=True):
                    file.seek(begin + int(row_splits[position]) * row_size)
                    file.write(state.data)
        manifest = {"key": place.name, "sample": _sample(_map(folder))}
        (folder / SETTINGS_FILE).write_text(json.dumps(manifest), encoding="utf-8")


def _read(place: Path, shape: tuple[int, int], dtype: str) -> Floats | None:
    """The rows that were written to `place`; None where there are none, or other ones."""
    if not place.is_dir():
        return None
    try:
        manifest, rows = json.loads((place / SETTINGS_FILE).read_bytes()), _map(place)
        sound = (rows.shape, rows.dtype) == (shape, np.dtype(dtype)) and (
            manifest == {"key": place.name, "sample": _sample(rows)}
        )
    except _BROKEN:
        sound = False
    if sound:
        return rows
    logger.warning("%s does not hold what was written there; it is made anew", place)
    aside = place.with_name(f".{place.name}.{uuid4().hex[:8]}.old")
    with suppress(FileNotFoundError):  # another process was faster
        place.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
    return None


def _map(folder: Path) -> Floats:
    rows: Floats = np.lib.format.open_memmap(folder / _FILE, mode="r")
    return np.asarray(rows)  # slices of a `memmap` are slow to make


def _sample(rows: Floats) -> str:
    """A hash of a thousand rows: all of them would take as long to read as an epoch."""
    return hashlib.sha256(rows[:: max(1, len(rows) // 1000)].tobytes()).hexdigest()


def _key(model: nn.Module, windows: Windows, rows: Longs, settings: str) -> str:
    """A hash of all that the states depend on."""
    config = config_of(model).to_dict()
    for name in ("_name_or_path", "architectures"):  # where it lay, and under which head
        config.pop(name, None)
    lengths = windows.lengths[rows]
    begins = np.cumsum(lengths) - lengths
    tokens = np.arange(lengths.sum()) + np.repeat(windows.row_splits[rows] - begins, lengths)
    arrays = {
        # A pooler takes no part in reading spans, and not every class has one.
        **{n: t for n, t in base_of(model).state_dict().items() if ".pooler." not in f".{n}"},
        "lengths": torch.from_numpy(lengths),
        "input_ids": torch.from_numpy(windows.input_ids[tokens]),
        "type_ids": torch.from_numpy(windows.type_ids[tokens]),
    }
    digest = hashlib.sha256(f"{settings} {json.dumps(config, sort_keys=True)}".encode())
    for name, tensor in arrays.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).cpu().numpy().data)
    return digest.hexdigest()


def _cache_folder() -> Path:
    if chosen := os.environ.get("SPANWISE_CACHE"):
        return Path(chosen).expanduser() / "states"
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "spanwise" / "states"


def _has_room(folder: Path, size: float, *, cache_gb: float, what: str) -> bool:
    for file in folder.glob(f".*/{_FILE}"):
        # What killed runs have left half-written would fill the disk in time.
        with suppress(FileNotFoundError):  # it may be whole by now, and renamed
            if time.time() - file.stat().st_mtime > _ABANDONED:
                shutil.rmtree(file.parent, ignore_errors=True)
    free = shutil.disk_usage(folder).free / _GB
    if size <= min(cache_gb, free):
        return True
    logger.warning(
        "%s are not kept: cache_gb allows %g GB, and %.2f GB are free in %s; the encoder runs in "
        "every step instead", what, cache_gb, free, folder,
    )  # fmt: skip
    return False

"""Windows become batches: which windows go together, and how they are padded.

This module knows nothing about text, tokenizers or models.
"""

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Windows

# Batches whose windows are sorted together when shuffling: enough that neighbours in length meet
# (little padding), few enough that the order stays random.
_BATCHES_SORTED_TOGETHER = 50


def plan_batches(
    lengths: ArrayLike,
    *,
    batch_size: int | None = None,
    batch_tokens: int | None = None,
    seed: int | None = None,
) -> list[NDArray[np.int64]]:
    """Say which windows make up each batch; every window stands in exactly one.

    What a batch costs is its tokens, padding included, whatever the number of its windows. So a
    budget keeps both the memory and the time of a batch even, where a number of windows would not.

    Args:
        lengths: (W,) tokens per window.
        batch_size: windows per batch; one batch takes what is left over. None: no limit.
        batch_tokens: tokens per batch at most, padding included; a window that is longer stands
            alone. None: no limit.
        seed: None sorts by length, longest first and ties in order, so that a batch too large for
            memory fails at once. A seed shuffles for training, windows of like length together.

    Returns:
        Arrays of positions in `lengths`.

    Raises:
        ConfigError: a limit below 1.
    """
    check_limit("batch_size", batch_size)
    check_limit("batch_tokens", batch_tokens)
    lengths = np.asarray(lengths, dtype=np.int64)
    count = max(1, len(lengths))
    at_most = count if batch_size is None else batch_size  # windows
    budget = count * int(lengths.max(initial=1)) if batch_tokens is None else batch_tokens
    chunks = [np.arange(len(lengths))]
    random = np.random.default_rng(seed)
    if seed is not None:
        in_a_batch = min(at_most, budget * count // max(1, int(lengths.sum())))
        together = max(1, in_a_batch) * _BATCHES_SORTED_TOGETHER
        order = random.permutation(len(lengths))
        chunks = [order[start : start + together] for start in range(0, len(order), together)]
    batches = []
    for chunk in chunks:
        rows = chunk[np.argsort(-lengths[chunk], kind="stable")]
        while len(rows):
            size = min(at_most, max(1, budget // max(1, int(lengths[rows[0]]))))
            batches.append(rows[:size])
            rows = rows[size:]
    if seed is None:
        return batches
    return [batches[position] for position in random.permutation(len(batches))]


def check_limit(name: str, limit: Any) -> None:
    """See that a limit of a batch is None or a whole number.

    Raises:
        ConfigError: it is below 1, or no whole number.
    """
    if limit is not None and (not isinstance(limit, Integral) or limit < 1):
        raise ConfigError(f"{name} is {limit!r}; it must be a whole number of at least 1")


def collate(windows: Windows, indices: ArrayLike, *, pad_token_id: int) -> Batch:
    """Pad the windows at `indices` on the right to the longest of them.

    Args:
        windows: W windows.
        indices: (B,) positions in `windows`; the rows of the batch, in this order.
        pad_token_id: fills `input_ids`; segment ids are filled with 0, edges with -1.

    Returns:
        A batch of B rows.
    """
    rows = np.asarray(indices, dtype=np.int64)
    lengths = windows.row_splits[rows + 1] - windows.row_splits[rows]  # (B,)
    columns = np.arange(lengths.max(initial=0))  # (T,)
    real = columns < lengths[:, None]  # (B, T)
    # Padding reads token 0, there wherever anything is to pad, and is then overwritten.
    tokens = np.where(real, windows.row_splits[rows, None] + columns, 0)  # (B, T)
    return Batch(
        input_ids=np.where(real, windows.input_ids[tokens], np.int32(pad_token_id)),
        attention_mask=real.astype(np.int32),
        type_ids=np.where(real, windows.type_ids[tokens], np.int32(0)),
        edges=np.where(real[..., None], windows.edges[tokens], np.int32(-1)),
        example=windows.example[rows],
        null_position=windows.null_position[rows],
        first=windows.first[rows],
        last=windows.last[rows],
    )


def join(rows: Sequence[tuple[Batch, int]], *, pad_token_id: int) -> Batch:
    """Pad rows of several batches anew, to the longest of them.

    Args:
        rows: batch and position in it; the rows of the new batch, in this order. The number of an
            example means what it meant in the row's own batch.
        pad_token_id: as in `collate`.
    """
    lengths = [int(batch.attention_mask[row].sum()) for batch, row in rows]
    shape = len(rows), max(lengths, default=0)
    input_ids = np.full(shape, pad_token_id, dtype=np.int32)
    attention_mask, type_ids = np.zeros((2, *shape), dtype=np.int32)
    edges = np.full((*shape, 2), -1, dtype=np.int32)
    for at, ((batch, row), length) in enumerate(zip(rows, lengths, strict=True)):
        input_ids[at, :length] = batch.input_ids[row, :length]
        attention_mask[at, :length] = 1
        type_ids[at, :length] = batch.type_ids[row, :length]
        edges[at, :length] = batch.edges[row, :length]
    example, null_position, first, last = np.array(
        [
            (batch.example[row], batch.null_position[row], batch.first[row], batch.last[row])
            for batch, row in rows
        ],
        dtype=np.int32,
    ).reshape(-1, 4).T  # fmt: skip
    return Batch(
        input_ids=input_ids,
        attention_mask=attention_mask,
        type_ids=type_ids,
        edges=edges,
        example=example,
        null_position=null_position,
        first=first,
        last=last,
    )

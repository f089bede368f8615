"""Windows become batches: which windows go together, and how they are padded.

This module knows nothing about text, tokenizers or models.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Windows

# Batches whose windows are sorted together when shuffling: enough that neighbours in length meet
# (little padding), few enough that the order stays random.
_BATCHES_SORTED_TOGETHER = 50


def plan_batches(
    lengths: ArrayLike, *, batch_size: int, seed: int | None = None
) -> list[NDArray[np.int64]]:
    """Say which windows make up each batch; every window stands in exactly one.

    Args:
        lengths: (W,) tokens per window.
        batch_size: windows per batch; one batch takes what is left over.
        seed: None sorts by length, longest first and ties in order, so that a batch too large for
            memory fails at once. A seed shuffles for training, windows of like length together.

    Returns:
        ceil(W / batch_size) arrays of positions in `lengths`.

    Raises:
        ConfigError: a batch size below 1.
    """
    if batch_size < 1:
        raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
    lengths = np.asarray(lengths)
    if seed is None:
        return _cut(np.argsort(-lengths, kind="stable"), batch_size)
    random = np.random.default_rng(seed)
    batches = [
        batch
        for chunk in _cut(random.permutation(len(lengths)), batch_size * _BATCHES_SORTED_TOGETHER)
        for batch in _cut(chunk[np.argsort(-lengths[chunk], kind="stable")], batch_size)
    ]
    return [batches[position] for position in random.permutation(len(batches))]


def _cut(indices: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [indices[start : start + size] for start in range(0, len(indices), size)]


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

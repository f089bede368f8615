"""Exported models, run by ONNX Runtime without PyTorch."""

import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spanwise.errors import CheckpointError
from spanwise.schema import Batch, Floats, Logits

_OUTPUTS = ["start_logits", "end_logits"]

# Its kernel takes a quarter of a window's time, more than the steps that it joins
# (docs/decisions.md).
_SLOW = ["SkipLayerNormFusion"]


@dataclass(frozen=True)
class OnnxReading:
    """A batch of which some windows are read.

    Attributes:
        logits: of the windows that are; 0 elsewhere.
        windows: done when they are read.
    """

    logits: Logits
    windows: Sequence[Future[None]]

    def result(self) -> Logits:
        """Wait for the logits; after a failure the other windows are given up."""
        try:
            for window in self.windows:
                window.result()
        finally:
            self.cancel()
        return self.logits

    def cancel(self) -> None:
        """Give up the windows that are not begun."""
        for window in self.windows:
            window.cancel()


class OnnxBackend:
    """Runs an exported model on a processor.

    Each window is run by itself, without padding, on one thread, and several windows at once: its
    logits are the same to the bit in any company, even those of a graph that scales activations by
    the largest value of a call. It is faster as well.

    Args:
        file: a model with inputs `input_ids`, `attention_mask` and perhaps `token_type_ids`, and
            outputs `start_logits` and `end_logits`.
        threads: None for one on each core that this process may use.

    Raises:
        CheckpointError: no such model.
    """

    device = "cpu"

    def __init__(self, file: str | Path, *, threads: int | None = None) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors alone; its optimiser warns of what it does
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        try:
            self._session = onnxruntime.InferenceSession(
                Path(file).read_bytes(),
                options,
                providers=["CPUExecutionProvider"],
                disabled_optimizers=_SLOW,
            )
        except Exception as error:
            raise CheckpointError(f"{file}: ONNX Runtime cannot load it: {error}") from error
        self._file = file
        self._inputs = {node.name for node in self._session.get_inputs()}
        outputs = {node.name for node in self._session.get_outputs()}
        if not {"input_ids"} <= self._inputs <= {"input_ids", "attention_mask", "token_type_ids"}:
            raise CheckpointError(f"{file}: takes {sorted(self._inputs)}: it is no span reader")
        if not {*_OUTPUTS} <= outputs:
            raise CheckpointError(
                f"{file}: gives {sorted(outputs)}, not {' and '.join(_OUTPUTS)}: it has no span "
                "head; export a reader with 'spanwise export'"
            )
        self._pool = ThreadPoolExecutor(threads or count_cores())

    def __call__(self, batch: Batch) -> Logits:
        """Run the model on each window; logits of padding are 0."""
        return self.begin(batch).result()

    def begin(self, batch: Batch) -> OnnxReading:
        """As `__call__`, without waiting: a core that is done with a batch goes on with the next.

        Whoever reads many batches calls this (`backends.read_batches`), so this is what a subclass
        has to override.
        """
        start, end = np.zeros((2, *batch.input_ids.shape), np.float32)

        def read(row: int) -> None:
            tokens = slice(int(batch.attention_mask[row].sum()))  # padding is on the right
            start[row, tokens], end[row, tokens] = self._run(batch, row, tokens)

        windows = [self._pool.submit(read, row) for row in range(len(batch.input_ids))]
        return OnnxReading(Logits(start_logits=start, end_logits=end), windows)

    def _run(self, batch: Batch, row: int, tokens: slice) -> tuple[Floats, Floats]:
        inputs = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": batch.type_ids,
        }
        given = {
            name: inputs[name][row : row + 1, tokens].astype(np.int64) for name in self._inputs
        }
        try:
            start, end = self._session.run(_OUTPUTS, given)
        except Exception as error:
            raise CheckpointError(
                f"{self._file}: ONNX Runtime cannot read a window of {tokens.stop} tokens with it: "
                f"{error}"
            ) from error
        return start[0], end[0]


def count_cores() -> int:
    """Cores that this process may use, as far as the system tells."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

"""The dev questions, read after each epoch as the saved reader would read them.

This module knows nothing about scores or steps.
"""

import time
from collections.abc import Sequence
from itertools import accumulate
from operator import itemgetter

import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from torch import nn

from spanwise.backends import TorchBackend
from spanwise.batching import collate, plan_batches
from spanwise.decoding import Decoder
from spanwise.model.traits import evaluating
from spanwise.reader import BATCH_TOKENS, Reader
from spanwise.schema import Example, Logits, Prediction, ReaderSettings
from spanwise.states import States, encode_states
from spanwise.windows import PairTokenizer, make_windows

_FEW = 25_000  # characters of context that are read to learn how long all will take


class DevReader:
    """Answers the dev questions with the model as it is at the moment.

    Of several processes each reads its part, and every one is given the answers to all.

    Args:
        model: the bare span model.
        tokenizer: that of the reader.
        settings: of the reader; its calibration takes no part.
        dev: held-out examples.
    """

    def __init__(
        self,
        model: nn.Module,
        tokenizer: PairTokenizer,
        settings: ReaderSettings,
        dev: Sequence[Example],
    ) -> None:
        self.examples = dev
        processes = PartialState()
        self._places = range(processes.process_index, len(dev), processes.num_processes)
        self._own = [dev[place] for place in self._places]
        self._model, self._tokenizer, self._settings = model, tokenizer, settings
        self._states: States | None = None

    def keep_states(self, head: nn.Module, cache_gb: float) -> None:
        """Encode the questions once, where the encoder is frozen; then only its head reads.

        Not where the text around a span has a say: which text that is depends on the head.
        """
        self._head = head
        if self._own and not self._settings.decode.doubts:
            self._windows = make_windows(self._own, self._tokenizer, self._settings.window)
            self._states = encode_states(  # in float32, as the reader will compute
                self._model,
                self._windows,
                pad_token_id=self._tokenizer.pad_token_id,
                cache_gb=cache_gb,
            )

    def read(self) -> list[Prediction]:
        """One prediction for each dev question, in their order."""
        own = self._read(self._own) if self._states is None else self._read_states(self._states)
        placed = gather_object(list(zip(self._places, own, strict=True)))
        return [prediction for _, prediction in sorted(placed, key=itemgetter(0))]

    def foresee(self) -> float:
        """Seconds that all questions will take, from reading some of them."""
        if not self._own:
            return 0.0
        began = time.monotonic()
        if self._states is not None:
            self._read_states(self._states)
            return time.monotonic() - began
        before = accumulate((len(example.context) for example in self._own), initial=0)
        few = [example for example, size in zip(self._own, before, strict=False) if size < _FEW]
        self._read(few)
        characters = [sum(len(e.context) for e in examples) for examples in (self._own, few)]
        return (time.monotonic() - began) * characters[0] / characters[1]

    def _read(self, examples: Sequence[Example]) -> list[Prediction]:
        if not examples:
            return []
        backend = TorchBackend(self._model, device=str(self._device))
        return Reader(backend, self._tokenizer, self._settings).predict(examples)

    def _read_states(self, states: States) -> list[Prediction]:
        decoder = Decoder(self._settings.decode, self._settings.calibration)
        pad_token_id = self._tokenizer.pad_token_id
        with evaluating(self._head), torch.inference_mode():
            for rows in plan_batches(self._windows.lengths, batch_tokens=BATCH_TOKENS):
                batch = collate(self._windows, rows, pad_token_id=pad_token_id)
                inputs = (batch.input_ids, batch.attention_mask, states.pad(rows))
                output = self._head(*(torch.from_numpy(array).to(self._device) for array in inputs))
                logits = (output.start_logits.cpu().numpy(), output.end_logits.cpu().numpy())
                decoder.add(batch, Logits(start_logits=logits[0], end_logits=logits[1]))
        ids = [example.id for example in self._own]
        return decoder.predictions(ids, [[example.context] for example in self._own])

    @property
    def _device(self) -> torch.device:
        return next(self._model.parameters()).device

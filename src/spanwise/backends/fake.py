"""A stand-in for a model."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from spanwise.errors import ConfigError
from spanwise.schema import Batch, Ints, Logits
from spanwise.windows import PairTokenizer

_NEVER = np.float32(-100)  # a logit that no softmax gives a share


class FakeBackend:
    """Finds given strings in the context: a stand-in for a model in tests, without PyTorch.

    Wherever the tokens of a string stand in a context, its first token gets half of its score as
    start logit and its last token the other half as end logit, so that the answer that quotes it
    has this score. Among several strings the start of one also pairs with the end of another.

    Example:
        ```python
        reader = Reader(FakeBackend({"Paris": 8.0}, tokenizer, null=2.0), tokenizer, settings)
        ```

    Args:
        scores: string to quote → its score.
        tokenizer: that of the reader.
        null: score of "not in this text", in every window.

    Raises:
        ConfigError: a string that has no token.
    """

    def __init__(
        self, scores: Mapping[str, float], tokenizer: PairTokenizer, *, null: float = 0.0
    ) -> None:
        self.null = null
        self._patterns: list[tuple[Ints, float]] = []
        for text, score in scores.items():
            # Some tokenizers give a word other tokens after a blank than at the start of a text.
            for ids, _ in tokenizer.encode_contexts([text, f" {text}"]):
                if not len(ids):
                    raise ConfigError(f"the answer {text!r} has no token; give a visible one")
                self._patterns.append((ids, score))

    def __call__(self, batch: Batch) -> Logits:
        """Give the strings their scores."""
        start = np.full(batch.input_ids.shape, _NEVER)
        end = start.copy()
        for ids, score in self._patterns:
            rows, columns = _find(ids, batch)
            np.maximum.at(start, (rows, columns), np.float32(score / 2))
            np.maximum.at(end, (rows, columns + len(ids) - 1), np.float32(score / 2))
        null = np.arange(len(start)), batch.null_position
        start[null] = end[null] = self.null / 2
        return Logits(start_logits=start, end_logits=end)


def _find(ids: Ints, batch: Batch) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns where `ids` begin in the context."""
    places = max(0, batch.input_ids.shape[1] - len(ids) + 1)
    found = np.ones((len(batch.input_ids), places), dtype=np.bool_)
    for n, token in enumerate(ids):
        span = slice(n, n + places)
        found &= (batch.input_ids[:, span] == token) & batch.context_mask[:, span]
    rows, columns = np.nonzero(found)
    return rows, columns

"""Model, tokenizer and settings: do they belong together, and what of the settings can be?

This module knows nothing about texts or answers.
"""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from spanwise.errors import CheckpointError
from spanwise.schema import ReaderSettings, WindowSettings
from spanwise.windows import PairTokenizer

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("spanwise")


def fit_settings(
    stored: ReaderSettings | None, model: "torch.nn.Module", tokenizer: PairTokenizer
) -> ReaderSettings:
    """What is stored beside a model, or the defaults, as far as model and tokenizer let it.

    Raises:
        CheckpointError: the tokenizer of another model.
    """
    from spanwise.model import position_limit

    check_vocabulary(model, tokenizer)
    settings = stored or ReaderSettings()
    window = clip_window(settings.window, position_limit(model))
    if stored is None:
        window = order_pair(window, model, tokenizer)
    return replace(settings, window=window)


def check_vocabulary(model: "torch.nn.Module", tokenizer: PairTokenizer) -> None:
    """Refuse the tokenizer of another model, some of whose ids this one could not look up.

    Tokens that were added to a vocabulary do not count: many models have a few that they never
    learnt, and read all texts without them.
    """
    from spanwise.model.heads import config_of

    known = tokenizer.tokenizer.get_vocab_size(with_added_tokens=False)
    size = getattr(config_of(model), "vocab_size", None) or known
    if known > size:
        raise CheckpointError(
            f"{tokenizer.name} knows {known:,} tokens, and the model has embeddings of {size:,}: "
            "the tokenizer belongs to another model; take its own"
        )


def clip_window(window: WindowSettings, limit: int | None) -> WindowSettings:
    """Shorten windows that are longer than what a model has positions for, if those are limited."""
    if limit is None or window.max_length <= limit:
        return window
    logger.info("max_length %d is cut to the model's %d positions", window.max_length, limit)
    # The share of a window that its neighbour repeats stays what it is by default.
    return replace(window, max_length=limit, stride=min(window.stride, limit // 3))


def order_pair(
    window: WindowSettings, model: "torch.nn.Module", tokenizer: PairTokenizer
) -> WindowSettings:
    """Say which text comes first.

    An encoder that pads on the left was trained with the context first. A causal model was not,
    whatever its padding: it could not read a question that comes last.
    """
    from spanwise.model import is_causal

    context_first = tokenizer.padding_side == "left" and not is_causal(model)
    return replace(window, context_first=context_first)

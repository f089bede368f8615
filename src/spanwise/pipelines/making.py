"""`pipeline("question-answering", …)`: what the old one took becomes a reader.

This module knows nothing about questions or results.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanwise.checkpoints import (
    BUILTIN,
    EXPORT_FILE,
    SETTINGS_FILE,
    fetch_folder,
    read_settings,
)
from spanwise.errors import ConfigError
from spanwise.pipelines.calling import TASK, QuestionAnsweringPipeline
from spanwise.reader import Reader
from spanwise.schema import ReaderSettings
from spanwise.windows import PairTokenizer

logger = logging.getLogger("spanwise")

# What else the old `pipeline` took: the values that ask for nothing, and the mend for others.
_OTHERS: Mapping[str, tuple[tuple[Any, ...], str]] = {
    "config": ((), "load the model with it, then give model= and tokenizer="),
    "device_map": ((), "name one device=, or load the model with it, then give model="),
    "framework": (("pt",), "there is PyTorch alone, so leave it out"),
    "model_kwargs": (({},), "load the model with them, then give model= and tokenizer="),
    "trust_remote_code": ((False,), "no code of a checkpoint is ever run; leave it out"),
    "use_fast": ((True,), "a slow tokenizer gives no character offsets; leave it out"),
}


def pipeline(  # noqa: PLR0913 - the old call's
    task: str | None = None,
    model: Any = None,
    *,
    tokenizer: Any = None,
    device: Any = None,
    scoring: str = "spanwise",
    revision: str | None = None,
    token: str | None = None,
    dtype: Any = None,
    torch_dtype: Any = None,
    **parameters: Any,
) -> QuestionAnsweringPipeline:
    """Make what `transformers.pipeline("question-answering", …)` made.

    Args:
        task: "question-answering" or None; the others are still in transformers.
        model: folder or Hub id of a model that reads spans, a `Reader`, or a transformers model,
            which needs `tokenizer` as well; None: the reader that the package carries.
        tokenizer: folder, or a fast tokenizer of transformers; None: the model's own.
        device: "cpu", "cuda:1", …, a `torch.device`, or a number: -1 for the processor.
        scoring: "spanwise" for probabilities over all windows, "transformers4" for the scores of
            transformers 4.57.6.
        revision: branch, tag or commit on the Hub, of model and tokenizer.
        token: for private and gated models on the Hub.
        dtype: number format of the weights, as a name or a `torch.dtype`; None and "auto": float32.
        torch_dtype: an older name of `dtype`.
        **parameters: of each call, unless it says otherwise: `top_k`, `doc_stride`,
            `max_answer_len`, `max_seq_len`, `max_question_len`, `handle_impossible_answer`,
            `align_to_words`; and `batch_size`, the windows that are read at once: speed and memory
            depend on it, no answer. None: what suits the device.

    Raises:
        ConfigError: another task, an unknown scoring or parameter, or an argument of the old call
            that has no place here.
        CheckpointError: as in `Reader.from_pretrained`.
    """
    if task not in {None, TASK}:
        raise ConfigError(f"task is {task!r}; spanwise has {TASK!r} alone: ask transformers")
    model = BUILTIN if model is None else model
    parameters = _without_others(parameters)
    if isinstance(model, Reader):
        _refuse_beside_reader(
            device=device, dtype=dtype or torch_dtype, revision=revision, token=token
        )
    device, dtype = _device(device), _dtype(torch_dtype if dtype is None else dtype)
    made = None if tokenizer is None else _pair(tokenizer, revision, token)
    settings = None
    if isinstance(model, str | Path) and made is not None:
        folder = fetch_folder(model, revision=revision, token=token)
        if not (folder / EXPORT_FILE).is_file():  # there need not be a tokenizer either
            from spanwise.model import load_reader_model

            settings = read_settings(folder)
            model = load_reader_model(folder, (settings or ReaderSettings()).head)
    if isinstance(model, str | Path):
        reader = Reader.from_pretrained(
            model, revision=revision, token=token, device=device, dtype=dtype
        )
    elif isinstance(model, Reader):
        reader = model
    elif made is None:
        raise ConfigError("tokenizer is missing: a model that is no folder needs its own")
    else:
        if settings is None:
            logger.warning(
                "this model comes without settings: it is read with the defaults, and its "
                "probabilities are uncalibrated; model=FOLDER takes what its %s says",
                SETTINGS_FILE,
            )
        reader = Reader.from_model(model, made, settings=settings, device=device, dtype=dtype)
    if made is not None:
        batch_tokens = reader.batch_tokens
        reader = Reader(reader.backend, made, reader.settings, batch_tokens=batch_tokens)
    return QuestionAnsweringPipeline(reader, scoring=scoring, **parameters)


def _refuse_beside_reader(**arguments: Any) -> None:
    problems = [
        f"{name} is {value!r:.80}, but model is a Reader, which was made without it: leave it out"
        for name, value in arguments.items()
        if value is not None
    ]
    if problems:
        raise ConfigError(problems)


def _without_others(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """What is left for the calls, where the rest asks for nothing."""
    problems = [
        f"{name} is {arguments[name]!r:.80}: {mend}"
        for name, (idle, mend) in _OTHERS.items()
        if arguments.get(name) is not None and arguments[name] not in idle
    ]
    if problems:
        raise ConfigError(problems)
    return {name: value for name, value in arguments.items() if name not in _OTHERS}


def _device(device: Any) -> str | None:
    """The names of torch, and the numbers of the old pipeline."""
    if device is None:
        return None
    if isinstance(device, int):
        return "cpu" if device < 0 else f"cuda:{device}"
    return str(device)


def _dtype(dtype: Any) -> str:
    name = str(dtype).removeprefix("torch.")
    return "float32" if name in {"None", "auto"} else name


def _pair(tokenizer: Any, revision: str | None, token: str | None) -> PairTokenizer:
    if isinstance(tokenizer, PairTokenizer):
        return tokenizer
    if isinstance(tokenizer, str | Path):
        revision = None if Path(tokenizer).is_dir() else revision  # it is the model's alone
        folder = fetch_folder(tokenizer, revision=revision, token=token, weights=False)
        return PairTokenizer.from_folder(folder)
    return PairTokenizer.from_transformers(tokenizer)

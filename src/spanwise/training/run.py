"""A training run: data in, a run folder with the best reader out.

The transformers Trainer does the steps; what it is given (batches, loss, optimizer, schedule) and
what happens between epochs (scores, checkpoints, warnings) stands here and in `epochs`. This module
knows nothing about flags or the terminal.
"""

import json
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from numpy.typing import NDArray
from torch import nn
from transformers import PrinterCallback, TrainingArguments, set_seed

from spanwise.checkpoints import fetch_folder, read_settings
from spanwise.corpus import read_examples
from spanwise.corpus.scanning import hash_source
from spanwise.errors import ConfigError, FormatError, Problem
from spanwise.matching import check_vocabulary, clip_window, order_pair
from spanwise.model import (
    PackedModel,
    count_parameters,
    freeze,
    load_training_model,
    position_limit,
    quicken_attention,
    quicken_dropout,
    quicken_linear,
    unexported,
)
from spanwise.schema import Calibration, DecodeSettings, Example, Gold, ReaderSettings, Windows
from spanwise.states import States, detach_head, encode_states
from spanwise.training.checkpointing import read_state
from spanwise.training.clock import Clock
from spanwise.training.config import FitConfig, TrainConfig
from spanwise.training.epochs import Epochs, Progress, Trained
from spanwise.training.fitting import (
    Batches,
    MaskedModel,
    RunTrainer,
    check_reports,
    computes_bf16,
    make_arguments,
    make_optimizer,
    make_schedule,
    span_loss,
    take_only,
)
from spanwise.training.folder import RunFolder, has_begun, open_run
from spanwise.training.negatives import add_negatives
from spanwise.training.scoring import DevReader
from spanwise.windows import PairTokenizer, make_windows

logger = logging.getLogger("spanwise")

_INHERITED = ("base_model", "base_is_folder", "train", "dev")  # of a model's provenance

_UNREACHABLE = 0.05  # share of answers that no window holds, above which the settings are at fault


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
    began: float | None = None,
) -> Trained:
    """Fine-tune a span reader, or go on where a run into the same folder was stopped.

    The run folder receives the best epoch's model, tokenizer and `spanwise.json`, the resolved
    recipe, `metrics.jsonl` and, under `checkpoints/`, what a run goes on from: killed at any time,
    it ends with the losses and weights of a run that was not (on a processor, without
    `max_minutes`). Under `torchrun` the processes share each step.

    Args:
        config: everything the run depends on.
        resume: go on, and never begin anew.
        progress: called after each step.
        began: when the time that `max_minutes` limits began, as `time.monotonic` says it; None:
            with this call.

    Returns:
        Where the reader is, its best epoch and its scores on the dev set.

    Raises:
        DataError: files that cannot be learnt from, every fault named.
        CheckpointError: a model that is not what its config says, or a checkpoint that cannot be
            written.
        ConfigError: settings that cannot work, settings or data that are not those that the run
            was begun with, or a loss that is not finite before a first epoch.
        KeyboardInterrupt: a signal asked the run to stop; it is saved, and the log says where.
    """
    clock = Clock(config.fit.max_minutes, began=began)
    PartialState(cpu=not torch.cuda.is_available())  # joins the other processes, if any
    with open_run(config, resume=resume) as run:
        if run.result is not None:
            logger.info("the run in %s has come to its end already", config.out)
            return Trained.from_json(run.result, run.path)
        check_reports(config.fit)
        trained = _fit(config, run, clock=clock, progress=progress)
        run.finish(trained.to_json())
    PartialState().wait_for_everyone()  # until the reader stands there
    return trained


def plan_stages(stages: Sequence[TrainConfig]) -> Sequence[TrainConfig]:
    """See that none will be refused when those before it have taken their time.

    Returns:
        Those that are left: from the last that has begun, as that needs none before it.

    Raises:
        DataError, ConfigError: as in `train`, of files, folders and settings.
    """
    PartialState(cpu=not torch.cuda.is_available())
    begun = [number for number, config in enumerate(stages) if has_begun(config)]
    left = stages[begun[-1] if begun else 0 :]
    for config in left[1:]:
        for sources in filter(None, (config.train, config.dev)):
            _read(sources, config)
    return left


def _fit(
    config: TrainConfig,
    run: RunFolder,
    *,
    clock: Clock,
    progress: Callable[[Progress], None] | None,
) -> Trained:
    fit = config.fit
    examples = _read(config.train, config)
    dev = _read(config.dev, config) if config.dev else ()
    run.compare(train=examples, dev=dev)
    _warn_of_overlap(examples, dev)
    examples = tuple(add_negatives(examples, config.negatives, seed=fit.seed))
    model, tokenizer, stored = _load(config, run)
    device, bf16 = _place(model, config)
    freeze(model, fit.freeze)
    goes_on = run.checkpoint is not None
    labels = [example.answers for example in (*examples, *dev)]
    settings = _settle(config, model, tokenizer, labels=labels, stored=stored, goes_on=goes_on)
    if settings.decode.use_null and dev and not goes_on and all(e.answers for e in dev):
        logger.info(
            "no question of dev is unanswerable, so it cannot say what null is worth: the "
            "threshold stays %.3f", settings.calibration.threshold,
        )  # fmt: skip
    windows = make_windows(examples, tokenizer, settings.window)
    _warn_of_unreachable(examples, windows)
    rows = _choose(windows, settings)
    trainable, total = count_parameters(model)
    processes = PartialState().num_processes
    precision = "bf16" if bf16 else "fp32"
    shared = f", shared by {processes} processes" if processes > 1 else ""
    logger.info("%s on %s in %s%s", type(model).__name__, device.type, precision, shared)
    logger.info("%s of %s parameters are trained", f"{trainable:,}", f"{total:,}")
    logger.info("%s windows of %s questions", f"{len(rows):,}", f"{len(examples):,}")

    run.begin()
    pad = tokenizer.pad_token_id
    with PartialState().main_process_first():  # the others read the states that it has written
        fitted, states = _encode_once(model, windows, rows, fit=fit, pad_token_id=pad, bf16=bf16)
    batches = Batches(windows, rows, fit, pad_token_id=pad, states=states)
    dev_reader = DevReader(model, tokenizer, settings, dev)
    if states is not None:
        dev_reader.keep_states(fitted, fit.cache_gb)
    epochs = Epochs(
        config,
        model,
        tokenizer,
        settings=settings,
        dev=dev_reader,
        windows=len(rows),
        clock=clock,
        progress=progress,
    )
    arguments = make_arguments(fit, run.path, device=device, bf16=bf16)
    _take_steps(MaskedModel(fitted), batches, epochs, arguments=arguments, run=run)
    return epochs.finish()


def _take_steps(
    model: nn.Module,
    batches: Batches,
    epochs: Epochs,
    *,
    arguments: TrainingArguments,
    run: RunFolder,
) -> None:
    """All steps that are left of a run, unless it is asked to stop."""
    fit = epochs.config.fit
    optimizer = make_optimizer(model, fit)
    # As the Trainer counts them: an epoch's last step may have fewer batches.
    steps = math.ceil(fit.epochs * math.ceil(len(batches.plan) / fit.accumulation))
    trainer = RunTrainer(
        model=model,
        args=arguments,
        train_dataset=batches,
        data_collator=take_only,
        compute_loss_func=span_loss,
        optimizers=(
            optimizer,
            make_schedule(optimizer, fit, steps=steps, used=lambda: epochs.share),
        ),
        callbacks=[epochs],
    )
    trainer.remove_callback(PrinterCallback)
    trainer.save, epochs.log = epochs.save, trainer.log
    if run.checkpoint is not None:
        trainer.resumed = read_state(run.checkpoint)
        epochs.go_on(json.loads(trainer.resumed["run"]))
        logger.info("the run goes on from %s, the newest whole checkpoint", run.checkpoint)
    if not epochs.is_over:
        with epochs.interruption:
            trainer.train(resume_from_checkpoint=run.checkpoint and str(run.checkpoint))
    if epochs.is_paused:
        count = PartialState().num_processes
        command = f"torchrun --nproc-per-node {count} -m spanwise" if count > 1 else "spanwise"
        logger.warning(
            "saved; the same command again, or '%s train --resume --out %s', goes on",
            command,
            run.path,
        )
        raise KeyboardInterrupt


def _load(
    config: TrainConfig, run: RunFolder
) -> tuple[nn.Module, PairTokenizer, ReaderSettings | None]:
    """The model that the run begins with, or goes on with, and what is stored beside it."""
    set_seed(config.fit.seed)  # of a fresh head
    folder = run.checkpoint or fetch_folder(config.model, revision=config.revision)
    stored = read_settings(folder)
    keep_head = stored is None or _shape(stored.head) == _shape(config.head.sizes())
    if stored and not keep_head:
        logger.warning(
            "%s has another head (%s) than head.kind %r asks for: a fresh one takes its place",
            config.model, ", ".join(f"{name} {size}" for name, size in stored.head.items()),
            config.head.kind,
        )  # fmt: skip
    with unexported(folder, stored.export.get("parameters", {}) if stored else {}) as whole:
        model = load_training_model(
            whole,
            config.head.sizes(),
            keep_head=keep_head,
            attention_dropout=config.fit.attention_dropout,
        )
    tokenizer = PairTokenizer.from_folder(folder)
    check_vocabulary(model, tokenizer)
    return model, tokenizer, stored


def _shape(head: Mapping[str, Any]) -> dict[str, Any]:
    """What its weights depend on."""
    return {name: value for name, value in head.items() if name != "dropout"}


def _read(sources: Sequence[str], config: TrainConfig) -> tuple[Example, ...]:
    examples = read_examples(sources, columns=config.columns)
    message = (
        "has no label: give it answers, or an empty list of them where there is none; a table's "
        "column of another name is read by --columns answers=NAME"
    )
    unlabelled = [
        Problem(file=", ".join(sources), place="", id=example.id, message=message)
        for example in examples
        if example.answers is None
    ]
    if unlabelled:  # its windows would pass as unanswerable
        raise FormatError(unlabelled)
    return examples


def _place(model: nn.Module, config: TrainConfig) -> tuple[torch.device, bool]:
    """Move the model to where it is trained, and say whether bf16 is used there."""
    device = PartialState().device
    native = computes_bf16(device)
    if config.fit.precision == "bf16" and not native:
        logger.warning(
            "fit.precision is 'bf16', which this machine only emulates: 'fp32' would be faster"
        )
    model.to(device)
    if device.type == "cpu":
        quicken_attention(model)
        quicken_dropout(model)
        quicken_linear(model)
    return device, config.fit.precision == "bf16" or (config.fit.precision == "auto" and native)


def _settle(
    config: TrainConfig,
    model: nn.Module,
    tokenizer: PairTokenizer,
    *,
    labels: Sequence[tuple[Gold, ...] | None],
    stored: ReaderSettings | None,
    goes_on: bool,
) -> ReaderSettings:
    """The settings that the reader is saved with, fitted to its model and data."""
    window = clip_window(config.window, position_limit(model))
    if not window.context_first:
        window = order_pair(window, model, tokenizer)
    asked, base = config.decode, stored.decode if stored else DecodeSettings()
    # A reader that abstains shall not forget how, where people mark answers alone.
    knows_null = stored is not None and base.use_null
    keep_null = config.fit.null_windows == "keep" or (
        config.fit.null_windows == "auto" and (knows_null or () in labels)
    )
    decode = DecodeSettings(
        n_best=asked.n_best,
        max_answer_tokens=asked.max_answer_tokens,
        use_null=keep_null,
        second_look=base.second_look if asked.second_look is None else asked.second_look,
        missing_name=base.missing_name if asked.missing_name is None else asked.missing_name,
    )
    return ReaderSettings(
        window=window,
        decode=decode,
        calibration=stored.calibration if stored and knows_null else Calibration(),
        head=config.head.sizes(),
        provenance=_provenance(config, stored.provenance if stored else {}, goes_on=goes_on),
    )


def _choose(windows: Windows, settings: ReaderSettings) -> NDArray[np.int64]:
    """Positions of the windows to learn from."""
    if settings.decode.use_null:
        return np.arange(len(windows))
    rows = np.flatnonzero(windows.has_answer)
    if not len(rows):
        raise ConfigError("no window holds an answer and null windows are dropped: nothing is left")
    logger.info(
        "no question is unanswerable: windows without an answer are left out, and the reader will "
        "always answer (fit.null_windows)"
    )
    return rows


def _encode_once(
    model: nn.Module,
    windows: Windows,
    rows: NDArray[np.int64],
    *,
    fit: FitConfig,
    pad_token_id: int,
    bf16: bool,
) -> tuple[nn.Module, States | None]:
    """What is called in a step; of a frozen encoder only the head, and the states that it reads."""
    whole = PackedModel(model) if fit.packing else model
    if fit.freeze != "encoder" or not fit.cache_gb:
        return whole, None
    head = detach_head(model)
    if head is None:
        logger.info(
            "%s takes more than last states from its encoder, which runs in every step",
            type(model).__name__,
        )
        return whole, None
    states = encode_states(
        model,
        windows,
        rows=rows,
        pad_token_id=pad_token_id,
        dtype="float16" if bf16 else "float32",
        bf16=bf16 and computes_bf16(next(model.parameters()).device),
        cache_gb=fit.cache_gb,
    )
    return (whole, None) if states is None else (head, states)


def _warn_of_unreachable(examples: Sequence[Example], windows: Windows) -> None:
    answerable = {e for e, example in enumerate(examples) if example.answers}
    reached = set(windows.example[windows.has_answer].tolist())
    lost = len(answerable - reached)
    if lost > _UNREACHABLE * len(answerable):
        logger.warning(
            "%d of %d answers lie in no window and cannot be learnt; raise window.max_length or "
            "window.stride, and see 'spanwise audit'", lost, len(answerable),
        )  # fmt: skip


def _warn_of_overlap(examples: Sequence[Example], dev: Sequence[Example]) -> None:
    shared = {example.context for example in examples} & {example.context for example in dev}
    if shared:
        logger.warning(
            "%d contexts stand in train and in dev (the first: %r…); dev scores and the threshold "
            "will look better than they are. Split the data by document",
            len(shared), min(shared)[:60],
        )  # fmt: skip


def _provenance(config: TrainConfig, before: Mapping[str, Any], *, goes_on: bool) -> dict[str, Any]:
    """Versions, base model and data hashes: what a later reader of the folder wants to know.

    Args:
        config: of the run.
        before: provenance of the model that it begins with; of the run itself, where it goes on.
        goes_on: whether it does.
    """
    versions = {"spanwise": "", "torch": "", "transformers": "", "tokenizers": "", "numpy": ""}
    for name in versions:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    ancestors = list(before.get("ancestors", ()))
    if not goes_on:  # what the model had learnt from before is learnt by this one as well
        kept = {name: before[name] for name in _INHERITED if name in before}
        ancestors = [kept, *ancestors] if kept else ancestors
    return {
        "ancestors": ancestors,
        "base_model": config.model,
        # Not the Hub's, whatever it is called; it may be gone when the run goes on.
        "base_is_folder": before.get("base_is_folder") if goes_on else Path(config.model).is_dir(),
        "versions": versions,
        "train": {file: hash_source(file) for file in config.train},
        "dev": {file: hash_source(file) for file in config.dev},
    }

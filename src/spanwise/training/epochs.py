"""What happens between steps and between epochs: progress, scores, checkpoints, warnings.

This module knows nothing about batches or the loss.
"""

import json
import logging
import math
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from spanwise.checkpoints import atomic_folder, write_settings
from spanwise.errors import ConfigError
from spanwise.evaluation import fit_calibration, recalibrated, score_spans
from spanwise.model import save_model
from spanwise.schema import Calibration, ReaderSettings
from spanwise.training.clock import Clock
from spanwise.training.config import TrainConfig
from spanwise.training.scoring import DevReader
from spanwise.windows import PairTokenizer

logger = logging.getLogger("spanwise")

_BYTES_PER_SECOND = 50e6  # at which weights are certainly saved
_MARGIN = 1.2  # for a machine that is busier at the end
_LEAVING = 1.0  # seconds that the best epoch's copy and the end of the process take


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        step: steps done.
        steps: steps of the whole run.
        loss: mean of the latest steps; None before the first ten.
        seconds: since the first step began.
        windows_per_second: over the run so far.
        seconds_left: at that pace, the time limit included.
    """

    step: int
    steps: int
    loss: float | None
    seconds: float
    windows_per_second: float
    seconds_left: float


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What a run has made.

    Attributes:
        folder: the reader, for `Reader.from_pretrained`.
        epoch: the one kept, counted from 1.
        scores: its scores on the dev set at the fitted threshold; empty without a dev set.
        calibration: fitted on the dev set; the default without one.
    """

    folder: Path
    epoch: int
    scores: dict[str, float]
    calibration: Calibration


def _rank(trained: Trained) -> tuple[float, float]:
    """Readers that answer nothing all have one F1: then the better one finds spans better."""
    scores = trained.scores
    return scores.get("f1", trained.epoch), scores.get("answerable_f1", 0.0)


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Scores and saves the model after each epoch, and keeps the best.

    Args:
        config: the run's.
        model: the bare span model.
        tokenizer: saved with it.
        settings: of the reader, but for what is fitted.
        dev: reads the held-out examples; without any the last epoch is kept.
        windows: in an epoch.
        clock: of the run.
        progress: called after each step.
    """

    def __init__(
        self,
        config: TrainConfig,
        model: nn.Module,
        tokenizer: PairTokenizer,
        *,
        settings: ReaderSettings,
        dev: DevReader,
        windows: int,
        clock: Clock,
        progress: Callable[[Progress], None] | None,
    ) -> None:
        self.config, self.model, self.tokenizer, self.settings = config, model, tokenizer, settings
        self.dev, self.windows, self.clock, self.progress = dev, windows, clock, progress
        self.out = Path(config.out)
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once it is
        self.kept: list[Trained] = []  # best first
        self.losses: list[float] = []

    def on_train_begin(
        self, _args: TrainingArguments, _state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Learn what the end will cost, and start the clock of the steps."""
        if self.clock.is_limited:
            self.clock.reserve = self._foresee_end()
        self.clock.start_steps()

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell the progress; stop when the time is over."""
        seconds = self.clock.stepping()
        a_step = seconds / state.global_step
        if self.clock.left() < a_step:
            logger.info("the time is over at step %d of %d", state.global_step, state.max_steps)
            control.should_training_stop = True
        if self.progress is not None:
            self.progress(
                Progress(
                    step=state.global_step,
                    steps=state.max_steps,
                    loss=self.losses[-1] if self.losses else None,
                    seconds=seconds,
                    windows_per_second=self.windows * (state.epoch or 0.0) / seconds,
                    seconds_left=min(
                        a_step * (state.max_steps - state.global_step), max(0.0, self.clock.left())
                    ),
                )
            )

    def on_log(
        self,
        _args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **_: Any,
    ) -> None:
        """Keep the loss; stop where it is not finite."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        self.losses.append(loss)
        self._write(step=state.global_step, seconds=round(self.clock.elapsed(), 1), **(logs or {}))
        if not math.isfinite(loss):
            control.should_training_stop = True

    def on_epoch_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Score, save, keep the best, and warn of what goes wrong."""
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if self.clock.left() < self.clock.reserve and not is_last:
            return  # there would be no time left to score what is still learnt
        trained_weights = (p for p in self.model.parameters() if p.requires_grad)
        if not all(torch.isfinite(weights).all() for weights in trained_weights):
            self.losses.append(math.nan)  # only every tenth step tells its own
            control.should_training_stop = True
        if self.losses and not math.isfinite(self.losses[-1]):
            return
        epoch = math.ceil(round(state.epoch or 0, 6))
        began = self.clock.elapsed()
        trained = self._score(epoch)
        self._save(trained)
        self.clock.reserve = _LEAVING + _MARGIN * (self.clock.elapsed() - began)
        self.log({f"dev_{name}": value for name, value in trained.scores.items()})
        self._write(epoch=epoch, seconds=round(self.clock.elapsed(), 1), dev=trained.scores)
        better = sorted([*self.kept, trained], key=_rank, reverse=True)
        for dropped in self.kept:
            if dropped is not better[0]:
                shutil.rmtree(dropped.folder)
        self.kept = [better[0], trained] if better[0] is not trained else [trained]
        patience = self.config.fit.patience
        if patience and epoch - better[0].epoch >= patience:
            logger.info("no better dev F1 for %d epochs: stopping", patience)
            control.should_training_stop = True

    def finish(self) -> Trained:
        """Put the best epoch at the top of the run folder.

        Raises:
            ConfigError: the loss was not finite before an epoch was complete.
        """
        if self.losses and not math.isfinite(self.losses[-1]):
            mend = f"lower fit.learning_rate ({self.config.fit.learning_rate}) or use fp32"
            if not self.kept:
                message = f"the loss became {self.losses[-1]} in the first epoch; {mend}"
                raise ConfigError(message)
            logger.warning(
                "the loss became %s; the run was stopped and epoch %d is kept. To go further, %s",
                self.losses[-1], self.kept[0].epoch, mend,
            )  # fmt: skip
        self._warn_of_flat_loss()
        best = self.kept[0]
        for file in sorted(best.folder.iterdir()):
            shutil.copy2(file, self.out / file.name)
        return replace(best, folder=self.out)

    def _foresee_end(self) -> float:
        """Seconds that scoring and saving will take, from reading some of the dev questions."""
        size = sum(p.numel() * p.element_size() for p in self.model.parameters())
        return _LEAVING + _MARGIN * (size / _BYTES_PER_SECOND + self.dev.foresee())

    def _score(self, epoch: int) -> Trained:
        folder = self.out / "checkpoints" / f"epoch-{epoch}"
        examples = self.dev.examples
        if not examples:
            return Trained(folder=folder, epoch=epoch, scores={}, calibration=Calibration())
        read = self.dev.read()
        use_null = self.settings.decode.use_null
        fitted_on = ", ".join(Path(file).resolve().name for file in self.config.dev)
        calibration = fit_calibration(examples, read, fitted_on=fitted_on, use_null=use_null)
        predictions = recalibrated(read, calibration, use_null=use_null)
        scores = score_spans(examples, predictions, threshold=calibration.threshold)
        logger.info(
            "epoch %d: EM %.1f, F1 %.1f on dev at threshold %.3f",
            epoch, scores["exact"], scores["f1"], calibration.threshold,
        )  # fmt: skip
        told = bool(self.kept) and self.kept[-1].scores["answered"] == 0
        if scores["answered"] == 0 and not told and any(example.answers for example in examples):
            logger.warning(
                "the reader answers nothing on all %d dev questions: it has collapsed to 'no "
                "answer'. Train longer, raise fit.learning_rate, or give it more questions that "
                "have an answer", len(examples),
            )  # fmt: skip
        return Trained(folder=folder, epoch=epoch, scores=scores, calibration=calibration)

    def _save(self, trained: Trained) -> None:
        provenance = {
            **self.settings.provenance,
            "epoch": trained.epoch,
            "minutes": round(self.clock.elapsed() / 60, 2),
            "dev_scores": trained.scores,
            "recipe": asdict(self.config),
        }
        settings = replace(self.settings, calibration=trained.calibration, provenance=provenance)
        with atomic_folder(trained.folder) as folder:
            save_model(self.model, folder)
            self.tokenizer.save(folder)
            write_settings(folder, settings)

    def _write(self, **entry: Any) -> None:
        with (self.out / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")

    def _warn_of_flat_loss(self) -> None:
        part = len(self.losses) // 5
        if part < 2:
            return  # fewer than a hundred steps say little
        early, late = sum(self.losses[:part]) / part, sum(self.losses[-part:]) / part
        if late > 0.95 * early:
            logger.warning(
                "the loss is not falling: %.2f in the first fifth of the run, %.2f in the last. "
                "Raise fit.learning_rate (%s), freeze less, or train longer",
                early, late, self.config.fit.learning_rate,
            )  # fmt: skip

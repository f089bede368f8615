"""What happens between steps and between epochs: progress, scores, checkpoints, warnings.

This module knows nothing about batches or the loss.
"""

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME

from spanwise.checkpoints import checkpoint_files, flush, write_settings
from spanwise.errors import ConfigError
from spanwise.evaluation import fit_calibration, fitted_name, recalibrated, score_spans
from spanwise.model import save_model
from spanwise.schema import Calibration, Prediction, ReaderSettings
from spanwise.training.checkpointing import prune_checkpoints, write_checkpoint
from spanwise.training.clock import Clock
from spanwise.training.config import TrainConfig
from spanwise.training.folder import LOG_FILE
from spanwise.training.interruption import Interruption
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
        calibration: fitted on the dev set; without one what the run began with, as not fitted.
    """

    folder: Path
    epoch: int
    scores: dict[str, float]
    calibration: Calibration

    def to_json(self) -> dict[str, Any]:
        """As JSON holds it; of the folder only the name, as run folders are moved."""
        return asdict(self) | {"folder": self.folder.name}

    @classmethod
    def from_json(cls, values: Mapping[str, Any], folder: Path) -> Self:
        """Read back from JSON, with the folder that it is in now."""
        calibration = Calibration(**values["calibration"])
        return cls(**{**values, "folder": folder, "calibration": calibration})


def _rank(trained: Trained) -> tuple[float, float]:
    """Readers that answer nothing all have one F1: then the better one finds spans better."""
    scores = trained.scores
    return scores.get("f1", trained.epoch), scores.get("answerable_f1", 0.0)


class Epochs(TrainerCallback):  # type: ignore[misc]
    """Scores and saves the model after each epoch, and keeps the best.

    Of several processes the first decides, tells the others, and alone writes.

    Args:
        config: the run's.
        model: the bare span model.
        tokenizer: saved with it.
        settings: of the reader, but for what is fitted: of that, what was known at first.
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
        self.interruption = Interruption(insist=PartialState().num_processes == 1)
        self.out = Path(config.out)
        self.log: Callable[[dict[str, float]], None] = lambda _: None  # the Trainer's, once it is
        self.kept: list[Trained] = []  # best first, then the latest
        self.known = settings.calibration  # of the reader that the run began with
        self.losses: list[float] = []
        self.is_over = False  # nothing is left to be learnt
        self.share = 0.0  # of the time allowed that is used
        self.is_paused = False  # asked to stop, and saved
        self._closing: float | None = None  # when scoring began of what is not saved yet
        self._saved = time.monotonic()
        self._is_first = PartialState().is_main_process

    def go_on(self, run: Mapping[str, Any]) -> None:
        """Take up where `save` has left off."""
        checkpoints = self.out / "checkpoints"
        self.kept = [Trained.from_json(x, checkpoints / x["folder"]) for x in run["kept"]]
        self.losses, self.is_over = list(run["losses"]), run["is_over"]
        self.known = Calibration(**run["known"])
        self.clock.go_on(elapsed=run["elapsed"], stepping=run["stepping"])
        if self._is_first:
            with (self.out / LOG_FILE).open("ab") as file:
                file.truncate(min(run["log_bytes"], file.tell()))  # never longer, with zeros

    def on_train_begin(
        self, _args: TrainingArguments, _state: TrainerState, _control: TrainerControl, **_: Any
    ) -> None:
        """Learn what the end will cost, and start the clock of the steps."""
        if rank := PartialState().process_index:  # each drops other values
            torch.manual_seed(self.config.fit.seed + rank)
        if self.clock.is_limited:
            self.clock.reserve = self._foresee_end()
            if self.clock.left() < 0 and self._is_first:
                logger.warning(
                    "of the time allowed less is left than scoring and saving take, some %.0f s: "
                    "one more step, and the run takes longer; allow more%s",
                    self.clock.reserve, ", or give less in dev" if self.dev.examples else "",
                )  # fmt: skip
        self.clock.start_steps()
        self.share = _agree(self.clock.share())  # a run that goes on is not at its beginning
        self._saved = time.monotonic()

    def on_step_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Tell the progress; stop when the time is over; save when it is time to."""
        seconds = self.clock.stepping()
        a_step = seconds / state.global_step
        since = time.monotonic() - self._saved
        is_over, is_due, is_asked, self.share = _agree(
            (
                self.clock.left() < a_step,
                since >= 60 * self.config.fit.checkpoint_minutes,
                self.interruption.asked,
                self.clock.share(),
            )
        )
        if is_over:
            logger.info("the time is over at step %d of %d", state.global_step, state.max_steps)
            control.should_training_stop = True
        if not _ends_epoch(state, control):  # then it is scored first
            control.should_save = is_due or is_asked
            control.should_training_stop = self.is_paused = is_asked
            if control.should_save and not self._is_finite():
                control.should_save = self.is_paused = False
                control.should_training_stop = True
        if self.progress is not None and self._is_first:
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
            control.should_save = False

    def on_epoch_end(
        self, _args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """Score, keep the best, and warn of what goes wrong."""
        control.should_save = False
        if self.is_paused:
            return
        is_last = control.should_training_stop or state.global_step >= state.max_steps
        if _agree(self.clock.left() < self.clock.reserve) and not is_last:
            return  # there would be no time left to score what is still learnt
        if not self._is_finite():
            control.should_training_stop = True
            return
        self._closing = self.clock.elapsed()
        trained = self._score(state)
        self.log({f"dev_{name}": value for name, value in trained.scores.items()})
        self._write(epoch=trained.epoch, seconds=round(self.clock.elapsed(), 1), dev=trained.scores)
        best = max([*self.kept, trained], key=_rank)  # of equal ones the earlier
        self.kept = [best, trained] if best is not trained else [trained]
        patience = self.config.fit.patience
        if patience and trained.epoch - best.epoch >= patience:
            logger.info("no better dev F1 for %d epochs: stopping", patience)
            is_last = True
        self.is_over = is_last
        self.is_paused = not is_last and _agree(self.interruption.asked)
        control.should_training_stop = is_last or self.is_paused
        control.should_save = True

    def save(self, state: Mapping[str, Any], trainer: TrainerState) -> None:
        """Write a checkpoint, and delete those that are no longer needed.

        Args:
            state: what the Trainer's next step depends on.
            trainer: its own account of steps and epochs.

        Raises:
            CheckpointError: it cannot be written.
        """
        if self._is_first:
            folder = self._folder(trainer)
            run = {
                "kept": [trained.to_json() for trained in self.kept],
                "losses": self.losses,
                "known": asdict(self.known),
                "is_over": self.is_over,
                "elapsed": self.clock.elapsed(),
                "stepping": self.clock.stepping(),
                "log_bytes": (self.out / LOG_FILE).stat().st_size,
            }
            with write_checkpoint(
                folder,
                {**state, "run": json.dumps(run)},  # text: scores may be NumPy's, which are no data
                step=trainer.global_step,
                best=self.kept[0].folder.name if self.kept else "",
                versions=self.settings.provenance["versions"],
            ) as fresh:
                save_model(self.model, fresh)
                self.tokenizer.save(fresh)
                write_settings(fresh, self._settings_of(folder, trainer))
                trainer.save_to_json(str(fresh / TRAINER_STATE_NAME))
            prune_checkpoints(folder.parent, keep=self.config.fit.keep_checkpoints)
        self._saved = time.monotonic()
        if self._closing is not None:
            self.clock.reserve = _LEAVING + _MARGIN * (self.clock.elapsed() - self._closing)
            self._closing = None

    def finish(self) -> Trained:
        """Put the best epoch at the top of the run folder.

        Raises:
            ConfigError: the loss was not finite before an epoch was complete.
        """
        if self.losses and not math.isfinite(self.losses[-1]):
            mend = (
                f"lower fit.learning_rate ({self.config.fit.learning_rate}) or use fp32, in a new "
                "folder"
            )
            if not self.kept:
                message = f"the loss became {self.losses[-1]} in the first epoch; {mend}"
                raise ConfigError(message)
            logger.warning(
                "the loss became %s; the run was stopped and epoch %d is kept. To go further, %s",
                self.losses[-1], self.kept[0].epoch, mend,
            )  # fmt: skip
        self._warn_of_flat_loss()
        best = self.kept[0]
        if self._is_first:
            for file in checkpoint_files(best.folder):
                fresh = self.out / f".{file.name}"
                shutil.copy2(file, fresh)
                flush(fresh)
                fresh.replace(self.out / file.name)
            flush(self.out)
        return replace(best, folder=self.out)

    def _is_finite(self) -> bool:
        """Whether loss and weights are; what the weights alone tell is noted as a loss."""
        trained = (p for p in self.model.parameters() if p.requires_grad)
        if not all(torch.isfinite(weights).all() for weights in trained):
            self.losses.append(math.nan)
        return not self.losses or math.isfinite(self.losses[-1])

    def _foresee_end(self) -> float:
        """Seconds that scoring and saving will take, from reading some of the dev questions."""
        size = sum(p.numel() * p.element_size() for p in self.model.parameters())
        size += 2 * sum(4 * p.numel() for p in self.model.parameters() if p.requires_grad)  # Adam's
        return _LEAVING + _MARGIN * (size / _BYTES_PER_SECOND + self.dev.foresee())

    def _folder(self, state: TrainerState) -> Path:
        return self.out / "checkpoints" / f"step-{state.global_step}"

    def _score(self, state: TrainerState) -> Trained:
        """Read dev, each process its part; the first one's scores count for all."""
        read = self.dev.read()
        trained: Trained = _agree(self._judge(state, read) if self._is_first else None)
        return trained

    def _judge(self, state: TrainerState, read: Sequence[Prediction]) -> Trained:
        folder, epoch = self._folder(state), _epoch_of(state)
        examples = self.dev.examples
        if not examples:
            calibration = replace(self.known, fitted_on="")
            return Trained(folder=folder, epoch=epoch, scores={}, calibration=calibration)
        use_null = self.settings.decode.use_null
        fitted_on = fitted_name(self.config.dev)
        calibration = fit_calibration(
            examples, read, fitted_on=fitted_on, use_null=use_null, known=self.known
        )
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

    def _settings_of(self, folder: Path, state: TrainerState) -> ReaderSettings:
        """Those of a checkpoint; within an epoch nothing is fitted."""
        scored = [trained for trained in self.kept if trained.folder == folder]
        calibration = scored[0].calibration if scored else Calibration()
        provenance = {
            **self.settings.provenance,
            "epoch": _epoch_of(state),
            "step": state.global_step,
            "minutes": round(self.clock.elapsed() / 60, 2),
            "dev_scores": scored[0].scores | {"threshold": calibration.threshold} if scored else {},
            "recipe": asdict(self.config),
        }
        return replace(self.settings, calibration=calibration, provenance=provenance)

    def _write(self, **entry: Any) -> None:
        if self._is_first:
            with (self.out / LOG_FILE).open("a", encoding="utf-8") as file:
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


def _epoch_of(state: TrainerState) -> int:
    return math.ceil(round(state.epoch or 0, 6))


def _ends_epoch(state: TrainerState, control: TrainerControl) -> bool:
    return float(state.epoch or 0).is_integer() or control.should_training_stop


def _agree(value: Any) -> Any:
    """What the first process says: clocks and signals differ, and all have to do the same."""
    return broadcast_object_list([value])[0]

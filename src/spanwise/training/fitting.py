"""The Trainer and what it is given: batches, a model that masks, the loss, optimizer, schedule.

This module knows nothing about files, epochs or scores.
"""

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainerState, TrainingArguments
from transformers.integrations import get_reporting_integration_callbacks

from spanwise.batching import collate, plan_batches
from spanwise.errors import ConfigError
from spanwise.model import accepts_type_ids
from spanwise.schema import Windows
from spanwise.states import States
from spanwise.training.config import FitConfig

Tensors = dict[str, torch.Tensor]

_LONGEST_WAIT = 7200  # seconds that a process waits: for the first to encode states, or read dev

_NO_LABEL = -100  # neither the loss nor the Trainer counts it


class Batches(Dataset[Tensors]):
    """Whole batches, drawn anew for each epoch from length-bucketed shuffles.

    Several processes share a batch that is so many times as large: item `n` is part `n % processes`
    of batch `n // processes`, so that the Trainer, which deals items out in turn, gives each of
    them its part.

    Args:
        windows: all windows.
        rows: positions of those to learn from.
        fit: size of a batch, and seed.
        pad_token_id: fills the batches.
        states: of those to learn from, by position in `rows`, where the encoder is frozen.
    """

    def __init__(
        self,
        windows: Windows,
        rows: NDArray[np.int64],
        fit: FitConfig,
        *,
        pad_token_id: int,
        states: States | None = None,
    ) -> None:
        self.windows, self.rows, self.fit, self.pad_token_id = windows, rows, fit, pad_token_id
        self.states = states
        self.processes: int = PartialState().num_processes
        self._count = 0
        self.set_epoch(0)

    def set_epoch(self, epoch: int) -> None:
        """Draw the batches of an epoch; the Trainer calls this."""
        lengths, fit = self.windows.lengths[self.rows], self.fit
        plan = plan_batches(
            lengths,
            batch_size=None if fit.batch_tokens else fit.batch_size * self.processes,
            batch_tokens=fit.batch_tokens and fit.batch_tokens * self.processes,
            seed=fit.seed + epoch,
        )
        # The Trainer takes every epoch to have as many batches as the first, which a budget of
        # tokens does not give: the smallest are joined, or the fullest halved.
        self._count = self._count or len(plan)
        while len(plan) > self._count:
            one, other = sorted(range(len(plan)), key=lambda n: int(lengths[plan[n]].sum()))[:2]
            plan[one] = np.concatenate([plan[one], plan[other]])
            del plan[other]
        while len(plan) < self._count:
            fullest = max(range(len(plan)), key=lambda n: len(plan[n]))
            plan[fullest : fullest + 1] = np.array_split(plan[fullest], 2)
        self.plan = plan

    def __len__(self) -> int:
        """Parts of batches in an epoch."""
        return len(self.plan) * self.processes

    def __getitem__(self, index: int) -> Tensors:
        """The tensors of a part: (B, T) each, (B, 2) labels, (B, T, H) states if there are any."""
        whole = self.plan[index // self.processes]
        part = whole[index % self.processes :: self.processes]
        is_spare = not len(part)  # fewer windows than processes: one is read and does not count
        part = whole[:1] if is_spare else part
        rows = self.rows[part]
        batch = collate(self.windows, rows, pad_token_id=self.pad_token_id)
        span_mask = batch.context_mask
        span_mask[np.arange(len(rows)), batch.null_position] = True
        arrays = {
            "input_ids": batch.input_ids,
            "attention_mask": batch.attention_mask,
            "token_type_ids": batch.type_ids,
            "labels": np.stack([batch.first, batch.last], axis=1),
        }
        tensors = {name: torch.from_numpy(array).long() for name, array in arrays.items()}
        if is_spare:
            tensors["labels"].fill_(_NO_LABEL)
        tensors["span_mask"] = torch.from_numpy(span_mask)
        if self.states is not None:
            tensors["states"] = torch.from_numpy(self.states.pad(part))
        return tensors


class MaskedModel(nn.Module):
    """Logits only where an answer, or null, may stand.

    Question and padding tokens take no part in the softmax: they never can be answers, and the
    decoder never looks at them.

    Args:
        model: a span model, or the head of one, which takes `states` (B, T, H) besides.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._type_ids = accepts_type_ids(model)

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor,
        span_mask: torch.Tensor,
        states: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """(B, T) tokens to (B, 2, T) float32 logits of start and end; -inf outside `span_mask`."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self._type_ids:
            inputs["token_type_ids"] = token_type_ids
        if states is not None:
            inputs["states"] = states
        output = self.model(**inputs)
        logits = torch.stack([output.start_logits, output.end_logits], dim=1).float()
        return logits.masked_fill(~span_mask[:, None], -torch.inf)


def span_loss(
    logits: torch.Tensor, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Cross entropy of start and end, averaged over all windows of a step.

    Args:
        logits: (B, 2, T) of start and end.
        labels: (B, 2) first and last token; -100 where there is nothing to learn.
        num_items_in_batch: labels of the whole step, over accumulation and ranks: two a window.
            The mean of each batch's own mean would count the windows of a small one for more.
    """
    losses = nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), reduction="sum", ignore_index=_NO_LABEL
    )
    return losses / (labels.numel() if num_items_in_batch is None else num_items_in_batch)


def make_optimizer(model: nn.Module, fit: FitConfig) -> torch.optim.AdamW:
    """AdamW, fused; no weight decay on biases and norms, which are the vectors."""
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": fit.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=fit.learning_rate, fused=True)


def make_schedule(
    optimizer: torch.optim.Optimizer, fit: FitConfig, *, steps: int, used: Callable[[], float]
) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up, then linear decay to zero at the last step or the last second allowed.

    Args:
        optimizer: its learning rate is the peak.
        fit: warm-up.
        steps: of the whole run.
        used: share of the time allowed that is used; always 0 without a limit.
    """
    # A limit may leave time for few of the steps: then the warm-up, too, goes by the time.
    warmup = max(fit.warmup, 1 / steps)

    def share(step: int) -> float:
        done = max(step / steps, used())
        return min(max((step + 1) / steps, done) / warmup, (1 - done) / (1 - fit.warmup), 1.0)

    return torch.optim.lr_scheduler.LambdaLR(optimizer, share)


class RunTrainer(Trainer):  # type: ignore[misc]
    """The Trainer, with checkpoints of ours: a kill leaves its own half-written.

    These are the places where it saves and loads; all else is its own. The weights are not loaded
    here: a run that goes on loads its model from the checkpoint to begin with.

    Attributes:
        save: takes what the next step depends on, and the Trainer's account of steps and epochs,
            where it is time for a checkpoint.
        resumed: what `save` was given, where the run goes on.
    """

    save: Callable[[dict[str, Any], TrainerState], None]
    resumed: dict[str, Any]

    def _save_checkpoint(self, *_: Any) -> None:
        # The sum of losses since the last report would be lost, and the next report wrong.
        own = {"random": _random_state(), "losses": self._tr_loss.item()}
        self.save(
            {
                "optimizer": self.optimizer.state_dict(),
                "schedule": self.lr_scheduler.state_dict(),
                "reported": self._globalstep_last_logged,
                "processes": gather_object([own]),
            },
            self.state,
        )

    def _load_from_checkpoint(self, *_: Any) -> None:
        pass

    def _load_optimizer_and_scheduler(self, _: Any) -> None:
        self.optimizer.load_state_dict(self.resumed["optimizer"])
        self.lr_scheduler.load_state_dict(self.resumed["schedule"])

    def _load_rng_state(self, _: Any) -> None:
        own = self.resumed["processes"][self.args.process_index]
        _set_random_state(own["random"])
        self._tr_loss.fill_(own["losses"])
        self._globalstep_last_logged = self.resumed["reported"]


def _random_state() -> dict[str, Any]:
    """All that draws numbers here, as values that `torch.load` takes without running code."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002 - whoever else uses it
    return {
        "python": random.getstate(),
        "numpy": (kind, np.asarray(keys).tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
    }


def _set_random_state(state: dict[str, Any]) -> None:
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def make_arguments(
    fit: FitConfig, out: Path, *, device: torch.device, bf16: bool
) -> TrainingArguments:
    """The Trainer's settings; when to save and score is decided in `epochs`, not by it."""
    return TrainingArguments(
        output_dir=str(out),
        num_train_epochs=fit.epochs,
        per_device_train_batch_size=1,  # an item is a whole batch
        gradient_accumulation_steps=fit.accumulation,
        max_grad_norm=fit.max_grad_norm,
        train_sampling_strategy="sequential",  # the batches are shuffled already
        bf16=bf16,
        use_cpu=device.type == "cpu",
        seed=fit.seed,
        logging_steps=10,
        logging_nan_inf_filter=False,  # it would hide a loss that is not finite
        save_strategy="no",
        eval_strategy="no",
        report_to=list(fit.report_to) or "none",
        remove_unused_columns=False,
        disable_tqdm=True,
        dataloader_pin_memory=device.type == "cuda",
        # Where the steps are not done by the processor, it makes the next batches meanwhile.
        dataloader_num_workers=int(device.type == "cuda"),
        ddp_timeout=_LONGEST_WAIT,
        average_tokens_across_devices=True,  # or a short part would count for as much as a long one
    )


def check_reports(fit: FitConfig) -> None:
    """See that the Trainer can log to all of `report_to`, before long work begins.

    Raises:
        ConfigError: a name that it does not know, or whose package is not installed.
    """
    try:
        for callback in get_reporting_integration_callbacks(list(fit.report_to)):
            callback()
    except (ImportError, RuntimeError, ValueError) as error:
        raise ConfigError(f"fit.report_to is {list(fit.report_to)}: {error}") from error


def take_only(items: Sequence[Any]) -> Any:
    """The collator: the one item of the Trainer's batch is the batch."""
    (item,) = items
    return item


def computes_bf16(device: torch.device) -> bool:
    """Whether bf16 is computed by the machine itself; elsewhere it is emulated, and slower."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))

"""Training: all of an encoder, and heads over a frozen one."""

import json
import os
import tempfile
import time
from pathlib import Path
from typing import Any, Literal, cast
from unittest import mock

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from benchmarks import inputs, usual_way
from benchmarks.measure import Result, compare, interleave, matmul_rate
from benchmarks.rows.cutting import check_windows
from benchmarks.rows.shared import WINDOW, DisagreementError, Examples
from spanwise import (
    FitConfig,
    PairTokenizer,
    TrainConfig,
    Windows,
    make_windows,
    train,
    write_examples,
)
from spanwise.batching import collate
from spanwise.model import load_training_model, quicken_linear
from spanwise.model.heads import base_of
from spanwise.states import States, encode_states
from spanwise.training import Progress
from spanwise.training.fitting import Batches, MaskedModel, span_loss

_TOLERANCES: dict[Literal["float32", "float16"], float] = {"float32": 1e-6, "float16": 1e-3}


def fine_tune(examples: Examples) -> list[Result]:
    """Fine-tuning all of MiniLM."""
    examples = inputs.spread_out(inputs.one_answer(examples), 96)
    _check_step(examples)
    features, cut = _both_windows(examples)
    sides = {
        "usual": lambda: _usual_training(features),
        "ours": lambda: _our_training(examples, FitConfig(epochs=1, precision="auto")),
        "fp32": lambda: _our_training(examples, FitConfig(epochs=1, precision="fp32")),
    }
    rates = interleave(sides, amount=len(cut))
    flops = _training_flops(cut)
    results = []
    for name, what, dtype in (
        ("ours", "fine-tune MiniLM", torch.bfloat16), ("fp32", "the same in fp32", torch.float32)
    ):  # fmt: skip
        machine = matmul_rate(dtype)
        share = np.median(rates[name]) * flops / machine
        results.append(
            Result(
                row="fine_tune", what=what, unit="windows/s", target=8,
                limit=f"{machine / flops:.0f}: {flops:.0f} GFLOP a window at {machine:.0f} GFLOP/s "
                f"({str(dtype).removeprefix('torch.')}); ours is {share:.0%}",
                questions=len(examples),
                agreement="loss and gradients of one fp32 step within 1e-5 of padding to 512",
                **compare(rates, name),
            )
        )  # fmt: skip
    return results


def frozen(examples: Examples) -> list[Result]:
    """Ten epochs of a head over a frozen encoder."""
    examples = inputs.spread_out(inputs.one_answer(examples), 48)
    _, cut = _both_windows(examples)
    far = {dtype: _check_states(cut, dtype, most) for dtype, most in _TOLERANCES.items()}
    fit = FitConfig(epochs=10, freeze="encoder")
    sides = {
        "usual": lambda: _usual_run(examples, epochs=10),
        "ours": lambda: _our_training(examples, fit, whole=True),
    }
    rates = interleave(sides, amount=10 * len(cut))
    return [
        Result(
            row="frozen", what="10 epochs of a head over frozen MiniLM", unit="windows/s",
            target=50, limit="one pass over the real tokens",
            questions=len(examples),
            agreement=f"cached states and of each window alone: {far['float32']:.0e} apart in "
            f"fp32, {far['float16']:.0e} kept as fp16 (relative L2); both from questions to saved "
            "model",
            **compare(rates, "ours"),
        )
    ]  # fmt: skip


def _check_step(examples: Examples) -> None:
    """Loss and gradients of one step: batches of like length, and all padded to the maximum."""
    folder = inputs.encoder()
    tokenizer = PairTokenizer.from_folder(folder)
    cut = make_windows(examples, tokenizer, WINDOW)
    model = load_training_model(folder, {"kind": "linear"}).eval()
    every = np.arange(len(cut))
    losses, gradients = [], []
    for fit, shortest in (FitConfig(batch_size=len(cut)), 512), (FitConfig(batch_size=16), 0):
        masked = MaskedModel(model)
        if not shortest:
            quicken_linear(model)  # as a run does
        model.zero_grad()
        loss = 0.0
        batches = Batches(cut, every, fit, pad_token_id=tokenizer.pad_token_id)
        for batch in map(batches.__getitem__, range(len(batches))):
            labels = batch.pop("labels")
            missing = max(0, shortest - batch["input_ids"].shape[1])
            padded = {name: nn.functional.pad(x, (0, missing)) for name, x in batch.items()}
            part = span_loss(masked(**padded), labels, 2 * len(cut))
            part.backward()  # type: ignore[no-untyped-call]
            loss += part.item()
        losses.append(loss)
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    furthest = max((a - b).abs().max().item() for a, b in zip(*gradients, strict=True))
    if not max(abs(losses[0] - losses[1]), furthest) < 1e-5:
        raise DisagreementError(f"losses {losses}, gradients {furthest:.1e} apart")


def _training_flops(cut: Windows) -> float:
    """GFLOP of a forward and a backward pass over a window, on average."""
    config = json.loads((inputs.encoder() / "config.json").read_text(encoding="utf-8"))
    width, inner = config["hidden_size"], config["intermediate_size"]
    tokens = cut.lengths.astype(float)
    a_token = 2 * (4 * width * width + 2 * width * inner)  # products with weights
    attention = 4 * width * tokens**2  # scores, and sums weighted by them
    forward = config["num_hidden_layers"] * (tokens * a_token + attention)
    return float(3e-9 * forward.mean())  # the backward pass is two such


def _check_states(cut: Windows, dtype: Literal["float32", "float16"], most: float) -> float:
    """How far cached states, of batches, are from those of each window alone (relative L2)."""
    model = load_training_model(inputs.encoder(), {"kind": "linear"}).eval()
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch.dict(os.environ, {"SPANWISE_CACHE": scratch}),
    ):
        states = encode_states(model, cut, pad_token_id=0, dtype=dtype)
        squares = np.zeros(2)
        for number in range(len(cut)):
            alone = collate(cut, [number], pad_token_id=0)
            arrays = (alone.input_ids, alone.attention_mask, alone.type_ids)
            with torch.no_grad():
                (state,) = base_of(model)(*(torch.from_numpy(x).long() for x in arrays))[0].numpy()
            cached = cast(States, states)[number].astype(np.float32)
            squares += ((cached - state) ** 2).sum(), (state**2).sum()
    apart = float(np.sqrt(squares[0] / squares[1]))
    if not apart < most:
        raise DisagreementError(f"cached {dtype} states are {apart:.1e} from those of one window")
    return apart


def _both_windows(examples: Examples) -> tuple[Any, Windows]:
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    features = usual_way.make_features(usual_way.to_rows(examples), theirs)
    cut = make_windows(examples, PairTokenizer.from_folder(inputs.encoder()), WINDOW)
    check_windows(cut, features)
    return features.remove_columns(["offset_mapping", "example_id"]), cut


def _usual_training(features: Any) -> float:
    """Seconds of the steps."""
    model = AutoModelForQuestionAnswering.from_pretrained(str(inputs.encoder()))
    with tempfile.TemporaryDirectory() as scratch:
        began = time.perf_counter()
        usual_way.fine_tune(model, features, Path(scratch), epochs=1)
        return time.perf_counter() - began


def _usual_run(examples: Examples, *, epochs: int) -> None:
    """A head over a frozen encoder, from the questions to the saved model."""
    theirs = AutoTokenizer.from_pretrained(str(inputs.encoder()))
    features = usual_way.make_features(usual_way.to_rows(examples), theirs)
    model = AutoModelForQuestionAnswering.from_pretrained(str(inputs.encoder()))
    model.base_model.requires_grad_(requires_grad=False)
    with tempfile.TemporaryDirectory() as scratch:
        columns = ["offset_mapping", "example_id"]
        usual_way.fine_tune(model, features.remove_columns(columns), Path(scratch), epochs=epochs)
        model.save_pretrained(scratch)


def _our_training(examples: Examples, fit: FitConfig, *, whole: bool = False) -> float:
    """Seconds of the steps, or of everything from the questions to the saved reader."""
    steps: list[Progress] = []
    began = time.perf_counter()
    with (
        tempfile.TemporaryDirectory() as scratch,
        mock.patch.dict(os.environ, {"SPANWISE_CACHE": f"{scratch}/cache"}),
    ):
        data = Path(scratch) / "train.json"
        write_examples(data, examples, form="squad")
        config = TrainConfig(
            model=str(inputs.encoder()),
            train=(str(data),),
            out=f"{scratch}/run",
            fit=fit,
            window=WINDOW,
        )
        train(config, progress=steps.append)
    return time.perf_counter() - began if whole else steps[-1].seconds

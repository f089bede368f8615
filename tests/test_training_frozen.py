"""Training over a frozen encoder: from kept states as from the encoder itself."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModel

from spanwise.checkpoints import read_settings
from spanwise.corpus import read_examples, write_examples
from spanwise.evaluation import evaluate
from spanwise.model import load_reader_model, load_training_model
from spanwise.model.heads import base_of
from spanwise.reader import Reader
from spanwise.schema import WindowSettings
from spanwise.training import FitConfig, HeadConfig, TrainConfig, Trained, train
from tests.conftest import make_colours
from tests.test_states import FAMILIES, NEEDS_MORE

LINEAR = HeadConfig()
Make = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the states are kept."""
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "states"


@pytest.fixture
def frozen(tmp_path: Path, make_encoder: Callable[..., Path]) -> Make:
    """A run over a frozen random encoder of a family; keywords are fields of `fit`."""
    examples = [
        replace(example, context=example.context + " old" * (number % 25))
        for number, example in enumerate(make_colours(60, seed=34, unanswerable=0.3))
    ]
    for name, part in (("train", examples[:50]), ("dev", examples[50:])):
        write_examples(tmp_path / f"{name}.json", part, form="squad")
    folder = make_encoder()  # for its tokenizer

    def make(family: str = "bert", *, head: HeadConfig = LINEAR, **fit: Any) -> TrainConfig:
        changes = {"pad_token_id": 0, "vocab_size": 128, "max_position_embeddings": 64}
        kind = AutoConfig.for_model(family, **(FAMILIES | NEEDS_MORE)[family] | changes)
        torch.manual_seed(1)
        AutoModel.from_config(kind).save_pretrained(folder)
        usual: dict[str, Any] = {"epochs": 2, "batch_size": 4, "precision": "fp32"}
        return TrainConfig(
            model=str(folder),
            train=(str(tmp_path / "train.json"),),
            dev=(str(tmp_path / "dev.json"),),
            out=str(tmp_path / f"run-{len(list(tmp_path.glob('run-*')))}"),
            window=WindowSettings(max_length=32, stride=8, max_question_tokens=8),
            head=head,
            fit=FitConfig(freeze="encoder", **usual | fit),
        )

    return make


def losses_of(trained: Trained) -> list[float]:
    text = (trained.folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [line["loss"] for line in map(json.loads, text.splitlines()) if "loss" in line]


def weights_of(trained: Trained) -> dict[str, torch.Tensor]:
    settings = read_settings(trained.folder)
    assert settings is not None
    return load_reader_model(trained.folder, settings.head).state_dict()


@pytest.mark.parametrize(
    ("family", "head"),
    [
        *((family, LINEAR) for family in FAMILIES),
        ("bert", HeadConfig(kind="mlp", depth=2, width=16)),
    ],
)
def test_a_head_learns_the_same_from_kept_states(
    frozen: Make, cache: Path, family: str, head: HeadConfig
) -> None:
    """With the dropout of the head: the same numbers are drawn."""
    runs = []
    for gigabytes in (0.0, 1.0):
        trained = train(frozen(family, head=head, learning_rate=1e-2, cache_gb=gigabytes))
        assert cache.exists() == (gigabytes > 0)
        runs.append((losses_of(trained), weights_of(trained), trained.scores))
    (losses, weights, scores), (kept_losses, kept_weights, kept_scores) = runs
    assert len(losses) >= 3
    assert kept_losses == pytest.approx(losses, abs=1e-5)
    assert kept_scores == pytest.approx(scores, abs=1e-3)
    for name in weights:
        # The last bias shifts all logits alike: its gradient is nothing but rounding, of which Adam
        # makes whole steps, and no softmax feels them.
        if weights[name].shape != (2,):
            torch.testing.assert_close(kept_weights[name], weights[name], atol=1e-5, rtol=0)


def test_in_bf16_kept_states_are_float16_and_the_losses_stay(
    frozen: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    monkeypatch.setattr("spanwise.training.run.computes_bf16", lambda _: True)
    losses = []
    for gigabytes in (0.0, 1.0):
        config = frozen(precision="bf16", learning_rate=1e-2, cache_gb=gigabytes)
        losses.append(losses_of(train(config)))
    assert losses[1] == pytest.approx(losses[0], abs=0.02)
    assert "GB of float16, are written to" in caplog.text


def test_a_frozen_encoder_reads_each_window_once_for_all_epochs_heads_and_seeds(
    frozen: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    read: list[int] = []  # tokens of each call of the encoder in training

    def load_and_watch(*arguments: Any, **options: Any) -> torch.nn.Module:
        model = load_training_model(*arguments, **options)

        def note(_: Any, __: Any, inputs: dict[str, Any]) -> None:
            read.append(int(inputs["attention_mask"].sum()))

        base_of(model).register_forward_pre_hook(note, with_kwargs=True)
        return model

    monkeypatch.setattr("spanwise.training.run.load_training_model", load_and_watch)
    train(frozen(epochs=1))
    once = sum(read)
    read.clear()
    mlp = HeadConfig(kind="mlp", width=16)
    train(frozen(head=mlp, epochs=5, seed=3, learning_rate=1e-2))
    assert sum(read) < once / 10  # the few tokens by which a model is looked at
    assert caplog.text.count("are written to") == 2  # of train and of dev
    assert caplog.text.count("are read from") == 2


def test_dev_scores_from_kept_states_are_those_of_the_saved_reader(frozen: Make) -> None:
    config = frozen(learning_rate=1e-2, epochs=3, precision="bf16")
    trained = train(config)
    found = evaluate(Reader.from_pretrained(trained.folder), read_examples(config.dev)).overall
    assert trained.scores == pytest.approx({key: found[key] for key in trained.scores}, abs=1e-4)


def test_only_the_windows_that_are_learnt_from_are_encoded(
    frozen: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    train(frozen(null_windows="drop"))
    (learnt,) = re.findall(r"(\d+) windows of 50 questions", caplog.text)
    encoded, _ = re.findall(r"the states of (\d+) windows", caplog.text)  # then those of dev
    assert encoded == learnt


def test_where_states_cannot_be_kept_the_encoder_runs_in_every_step(
    frozen: Make, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    expected = weights_of(train(frozen(cache_gb=0.0)))
    weights = weights_of(train(frozen(cache_gb=1e-9)))
    assert "are not kept: cache_gb allows 1e-09 GB" in caplog.text
    assert all(torch.equal(weights[name], expected[name]) for name in expected)
    assert train(frozen("bart", epochs=1)).scores
    assert "BartForQuestionAnswering takes more than last states from its encoder" in caplog.text
    assert not [*cache.iterdir()]

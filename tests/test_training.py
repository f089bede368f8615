"""Fine-tuning: what a run leaves behind, what it optimises, and what it warns of."""

import json
import logging
import math
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from spanwise.checkpoints import read_settings, write_settings
from spanwise.corpus import write_examples
from spanwise.errors import AlignmentError, CheckpointError, ConfigError, FormatError
from spanwise.evaluation import evaluate
from spanwise.model import load_reader_model, load_training_model
from spanwise.reader import Reader
from spanwise.schema import Calibration, Example, Gold, Prediction, WindowSettings
from spanwise.training import (
    DecodeConfig,
    FitConfig,
    HeadConfig,
    Progress,
    TrainConfig,
    Trained,
    read_recipe,
    train,
)
from spanwise.training.epochs import _rank
from spanwise.training.fitting import (
    Batches,
    MaskedModel,
    make_arguments,
    make_optimizer,
    make_schedule,
    span_loss,
)
from spanwise.training.scoring import DevReader
from spanwise.windows import PairTokenizer, make_windows
from tests.conftest import make_colours

WINDOW = WindowSettings(max_length=32, stride=8, max_question_tokens=8)
Make = Callable[..., TrainConfig]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of frozen encoders are kept where the test ends."""
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def recipe(tmp_path: Path, encoder: Path) -> Make:
    """A config on freshly written data; `train`, `dev` take examples, the rest are fields."""

    def make(train: list[Example], dev: list[Example] | None = None, **changes: Any) -> TrainConfig:
        write_examples(tmp_path / "train.json", train, form="squad")
        if dev:
            write_examples(tmp_path / "dev.json", dev, form="squad")
        fields: dict[str, Any] = {
            "model": str(encoder),
            "train": (str(tmp_path / "train.json"),),
            "dev": (str(tmp_path / "dev.json"),) if dev else (),
            "out": str(tmp_path / "run"),
            "window": WINDOW,
            "fit": FitConfig(epochs=1, precision="fp32"),
        }
        return TrainConfig(**(fields | changes))

    return make


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Trained:
    """A reader that has learnt its small task."""
    folder = tmp_path_factory.mktemp("learnt")
    write_examples(folder / "train.json", make_colours(400, seed=1, unanswerable=0.3), form="squad")
    write_examples(folder / "dev.json", make_colours(60, seed=2, unanswerable=0.3), form="squad")
    return train(
        TrainConfig(
            model=str(encoder),
            train=(str(folder / "train.json"),),
            dev=(str(folder / "dev.json"),),
            out=str(folder / "run"),
            window=WINDOW,
            fit=FitConfig(epochs=8, learning_rate=3e-3, precision="fp32", warmup=0.1),
        )
    )


def metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of `metrics.jsonl`."""
    text = (folder / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_small_model_learns_where_answers_stand_and_when_there_is_none(learnt: Trained) -> None:
    assert learnt.scores["f1"] > 90
    assert learnt.scores["NoAns_f1"] > 80
    assert learnt.scores["HasAns_f1"] > 80


def test_the_run_folder_holds_all_that_a_reader_needs_and_how_it_came_about(
    learnt: Trained,
) -> None:
    names = {path.name for path in learnt.folder.iterdir()}
    assert names >= {
        "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
        "spanwise.json", "recipe.toml", "metrics.jsonl", "checkpoints",
    }  # fmt: skip
    modes = {name: (learnt.folder / name).stat().st_mode for name in names}
    assert modes["model.safetensors"] == modes["config.json"]
    settings = read_settings(learnt.folder)
    assert settings is not None
    assert settings.window == WINDOW
    assert settings.calibration == learnt.calibration
    assert settings.calibration.fitted_on == "dev.json"
    assert settings.provenance["versions"]["torch"] == torch.__version__
    (data_hash,) = settings.provenance["train"].values()
    assert len(data_hash) == 64
    lines = metrics(learnt.folder)
    epochs = [line for line in lines if "dev" in line]
    assert [line["epoch"] for line in epochs] == list(range(1, 9))
    assert all({"exact", "f1"} <= set(line["dev"]) for line in epochs)
    assert any("loss" in line for line in lines)


def test_the_recipe_in_the_run_folder_gives_the_same_run(learnt: Trained) -> None:
    again = read_recipe(learnt.folder / "recipe.toml", {})
    settings = read_settings(learnt.folder)
    assert settings is not None
    assert json.loads(json.dumps(asdict(again))) == settings.provenance["recipe"]


def test_evaluating_the_saved_reader_gives_the_scores_of_its_epoch(learnt: Trained) -> None:
    dev = make_colours(60, seed=2, unanswerable=0.3)
    report = evaluate(Reader.from_pretrained(learnt.folder), dev)
    assert {key: report.overall[key] for key in learnt.scores} == pytest.approx(learnt.scores)
    assert report.settings.calibration == learnt.calibration


@pytest.mark.parametrize("freeze", ["none", "encoder"])
def test_a_run_that_begins_with_a_reader_doubts_as_it_does(
    recipe: Make, learnt: Trained, tmp_path: Path, freeze: Any
) -> None:
    base = shutil.copytree(learnt.folder, tmp_path / "base")
    settings = read_settings(base)
    assert settings is not None
    decode = replace(settings.decode, second_look=1.5, missing_name=0.5)
    write_settings(base, replace(settings, decode=decode))
    dev = make_colours(30, seed=2, unanswerable=0.5)
    fit = FitConfig(epochs=1, precision="fp32", freeze=freeze, learning_rate=1e-5)
    config = recipe(make_colours(20, seed=1, unanswerable=0.5), dev, model=str(base), fit=fit)
    trained = train(config)
    report = evaluate(Reader.from_pretrained(trained.folder), dev)
    assert report.settings.decode == decode
    assert {key: report.overall[key] for key in trained.scores} == pytest.approx(trained.scores)
    sure = replace(
        config, decode=DecodeConfig(second_look=0.0, missing_name=0.0), out=f"{config.out}-sure"
    )
    found = read_settings(train(sure).folder)
    assert found is not None
    assert not found.decode.doubts


def test_of_epochs_with_one_f1_the_one_that_finds_spans_better_is_best() -> None:
    def epoch(number: int, f1: float, finding: float) -> Trained:
        scores = {"f1": f1, "answerable_f1": finding}
        return Trained(folder=Path(), epoch=number, scores=scores, calibration=Calibration())

    epochs = [epoch(1, 32.5, 8.0), epoch(2, 32.5, 11.0), epoch(3, 32.5, 9.0), epoch(4, 30.0, 40.0)]
    assert max(epochs, key=_rank).epoch == 2


def test_a_linear_reader_is_a_plain_transformers_model(learnt: Trained) -> None:
    from transformers import AutoModelForQuestionAnswering

    plain = AutoModelForQuestionAnswering.from_pretrained(learnt.folder).eval()
    ours = load_reader_model(learnt.folder, {"kind": "linear"})
    ids = torch.arange(12).reshape(1, -1)
    with torch.inference_mode():
        assert torch.equal(plain(ids).start_logits, ours(ids).start_logits)


def test_a_run_is_the_same_twice(recipe: Make, tmp_path: Path) -> None:
    examples = make_colours(40, seed=3)
    losses = []
    for name in ("first", "second"):
        config = recipe(examples, out=str(tmp_path / name))
        weights = load_reader_model(train(config).folder, {"kind": "linear"}).state_dict()
        losses.append(weights)
    assert all(torch.equal(losses[0][name], losses[1][name]) for name in losses[0])


def test_accumulation_gives_the_step_of_the_whole_batch(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uneven batches too: 6 windows in batches of 4 are 4 + 2, and a mean of means would differ."""

    def plain(model: torch.nn.Module, _: FitConfig) -> torch.optim.SGD:
        return torch.optim.SGD(model.parameters(), lr=1.0)  # Adam would hide the size of a gradient

    monkeypatch.setattr("spanwise.training.run.make_optimizer", plain)
    examples = make_colours(6, seed=4)
    weights = []
    for size, accumulation in ((6, 1), (4, 2)):
        fit = FitConfig(batch_size=size, accumulation=accumulation, epochs=1, precision="fp32")
        config = recipe(examples, out=str(tmp_path / f"size-{size}"), fit=fit)
        weights.append(load_reader_model(train(config).folder, {"kind": "linear"}).state_dict())
    for name in weights[0]:
        torch.testing.assert_close(weights[0][name], weights[1][name], atol=1e-6, rtol=1e-5)


def test_vectors_do_not_decay_and_gradients_are_clipped(encoder: Path, tmp_path: Path) -> None:
    fit = FitConfig(weight_decay=0.3, max_grad_norm=0.7)
    model = load_training_model(encoder, {"kind": "linear"})
    decays = {p: g["weight_decay"] for g in make_optimizer(model, fit).param_groups
              for p in g["params"]}  # fmt: skip
    for name, parameter in model.named_parameters():
        is_vector = name.endswith("bias") or "LayerNorm" in name
        assert decays[parameter] == (0.0 if is_vector else 0.3), name
    arguments = make_arguments(fit, tmp_path, device=torch.device("cpu"), bf16=False)
    assert arguments.max_grad_norm == 0.7


@pytest.mark.parametrize(("accumulation", "epochs"), [(1, 1.1), (3, 2), (16, 3), (2, 1.5)])
def test_the_learning_rate_ends_with_the_last_step(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, accumulation: int, epochs: float
) -> None:
    rates = []
    step = torch.optim.AdamW.step

    def step_and_note(self: torch.optim.AdamW, *args: Any) -> Any:
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step_and_note)
    fit = FitConfig(batch_size=2, accumulation=accumulation, epochs=epochs, warmup=0.0)
    train(recipe(make_colours(10, seed=4), fit=fit))
    steps = len(rates)
    assert rates == pytest.approx([fit.learning_rate * (1 - n / steps) for n in range(steps)])


def test_span_loss_is_the_mean_over_windows_of_start_and_end() -> None:
    logits = torch.randn(5, 2, 7, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 1], [2, 2], [3, 6], [1, 4], [0, 0]])
    expected = -torch.stack(
        [logits[b, side].log_softmax(-1)[labels[b, side]] for b in range(5) for side in (0, 1)]
    ).mean()
    torch.testing.assert_close(span_loss(logits, labels), expected)
    torch.testing.assert_close(span_loss(logits, labels, torch.tensor(20)), expected / 2)


def test_question_and_padding_take_no_part_in_the_loss(encoder: Path) -> None:
    tokenizer = PairTokenizer.from_folder(encoder)
    examples = [*make_colours(3, seed=5), replace(make_colours(1, seed=6)[0], context="red lamp")]
    examples[-1] = replace(examples[-1], answers=(Gold(text="lamp", start=4, end=8),))
    windows = make_windows(examples, tokenizer, WINDOW)
    rows = np.arange(len(windows))
    batch = Batches(windows, rows, FitConfig(batch_size=4), pad_token_id=0)[0]
    labels = batch.pop("labels")
    model = MaskedModel(load_training_model(encoder, {"kind": "linear"}))
    logits = model(**batch)
    question = batch["token_type_ids"] == 0
    question[:, 0] = False  # the null position
    padding = batch["attention_mask"] == 0
    assert padding.any()
    assert torch.isneginf(logits[(question | padding)[:, None].expand_as(logits)]).all()
    assert torch.isfinite(logits.gather(2, labels[..., None])).all()


def test_batches_hold_every_window_once_and_are_drawn_anew(encoder: Path) -> None:
    tokenizer = PairTokenizer.from_folder(encoder)
    windows = make_windows(make_colours(50, seed=7), tokenizer, WINDOW)
    batches = Batches(windows, np.arange(50), FitConfig(batch_size=8), pad_token_id=0)
    first = [rows.tolist() for rows in batches.plan]
    assert sorted(row for rows in first for row in rows) == list(range(50))
    batches.set_epoch(1)
    assert [rows.tolist() for rows in batches.plan] != first
    batches.set_epoch(0)
    assert [rows.tolist() for rows in batches.plan] == first


def test_the_trainer_draws_new_batches_in_each_epoch(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs: list[int] = []
    draw = Batches.set_epoch

    def draw_and_note(self: Batches, epoch: int) -> None:
        epochs.append(epoch)
        draw(self, epoch)

    monkeypatch.setattr(Batches, "set_epoch", draw_and_note)
    train(recipe(make_colours(20, seed=8), fit=FitConfig(epochs=3, precision="fp32")))
    assert sorted(set(epochs)) == [0, 1, 2]


def test_a_custom_head_over_a_frozen_encoder_trains_the_head_alone(
    recipe: Make, encoder: Path
) -> None:
    config = recipe(
        make_colours(40, seed=9),
        head=HeadConfig(kind="mlp", depth=2, width=16),
        fit=FitConfig(freeze="encoder", learning_rate=1e-2, precision="fp32"),
    )
    folder = train(config).folder
    settings = read_settings(folder)
    assert settings is not None
    assert settings.head == {"kind": "mlp", "depth": 2, "width": 16, "dropout": 0.1}
    before = load_training_model(encoder, {"kind": "mlp"}).encoder.state_dict()  # type: ignore[union-attr]
    after = load_reader_model(folder, settings.head).encoder.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert Reader.from_pretrained(folder).answer("which ?", "red lamp").answers


def test_a_head_that_is_not_gone_on_with_is_told(
    recipe: Make, reader: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told = "has another head (kind linear) than head.kind 'mlp' asks for"
    mlp = HeadConfig(kind="mlp", width=16)
    folder = train(replace(recipe(make_colours(8, seed=9), head=mlp), model=str(reader))).folder
    assert told in caplog.text
    caplog.clear()
    again = replace(recipe(make_colours(8, seed=9), head=mlp), model=str(folder))
    train(replace(again, out=f"{again.out}-again"))
    assert "another head" not in caplog.text
    other = replace(again, head=HeadConfig(kind="mlp", width=8), out=f"{again.out}-other")
    settings = read_settings(train(other).folder)
    assert "has another head (kind mlp, depth 1, width 16, dropout 0.1)" in caplog.text
    assert settings is not None
    assert settings.head["width"] == 8
    caplog.clear()
    damped = HeadConfig(kind="mlp", width=16, dropout=0.3)  # the weights fit
    train(replace(again, head=damped, out=f"{again.out}-damped"))
    assert "another head" not in caplog.text


def test_null_windows_are_kept_where_the_data_has_unanswerable_questions(recipe: Make) -> None:
    settings = read_settings(train(recipe(make_colours(20, seed=10, unanswerable=0.5))).folder)
    assert settings is not None
    assert settings.decode.use_null


def test_a_reader_that_abstains_goes_on_to_where_people_mark_answers_alone(
    recipe: Make, learnt: Trained, caplog: pytest.LogCaptureFixture
) -> None:
    """Fitted on questions that all have an answer, a threshold would let it answer always."""
    caplog.set_level(logging.INFO, logger="spanwise")
    fit = FitConfig(epochs=1, precision="fp32", learning_rate=1e-5)
    data = make_colours(20, seed=10), make_colours(10, seed=11)
    trained = train(recipe(*data, model=str(learnt.folder), fit=fit))
    known, calibration = learnt.calibration, trained.calibration
    stored = read_settings(trained.folder)
    assert stored is not None
    assert stored.decode.use_null
    assert (calibration.threshold, calibration.null_bias) == (known.threshold, known.null_bias)
    assert calibration.null_scale / calibration.temperature == pytest.approx(
        known.null_scale / known.temperature
    )
    assert f"the threshold stays {known.threshold:.3f}" in caplog.text
    alone = train(recipe(data[0], model=str(learnt.folder), out=f"{trained.folder}-alone", fit=fit))
    assert alone.calibration == replace(known, fitted_on="")


def test_questions_of_dev_are_enough_to_keep_null_windows(recipe: Make) -> None:
    dev = make_colours(10, seed=11, unanswerable=0.5)
    settings = read_settings(train(recipe(make_colours(20, seed=10), dev)).folder)
    assert settings is not None
    assert settings.decode.use_null


def test_a_reader_without_null_windows_never_abstains(recipe: Make) -> None:
    folder = train(recipe(make_colours(20, seed=11))).folder
    settings = read_settings(folder)
    assert settings is not None
    assert not settings.decode.use_null
    prediction = Reader.from_pretrained(folder).answer("which ?", "red lamp is old")
    assert prediction.null_probability == 0
    assert prediction.best is not None


def test_dropping_every_window_is_refused(recipe: Make) -> None:
    fit = FitConfig(null_windows="drop", precision="fp32")
    with pytest.raises(ConfigError, match="no window holds an answer"):
        train(recipe(make_colours(5, seed=12, unanswerable=1.0), fit=fit))


def test_an_early_stop_ends_the_run(recipe: Make) -> None:
    fit = FitConfig(epochs=9, patience=1, learning_rate=1e-9, precision="fp32")
    trained = train(recipe(make_colours(20, seed=13), make_colours(5, seed=14), fit=fit))
    lines = metrics(trained.folder)
    assert [line["epoch"] for line in lines if "dev" in line] == [1, 2]
    assert trained.epoch == 1


def test_the_time_limit_ends_the_run_with_a_reader(recipe: Make) -> None:
    fit = FitConfig(epochs=1000, max_minutes=0.02, precision="fp32", batch_size=4)
    trained = train(recipe(make_colours(40, seed=15), fit=fit))
    assert Reader.from_pretrained(trained.folder).answer("which ?", "red lamp").answers


def test_within_a_time_limit_the_last_thing_is_to_score_what_was_learnt(recipe: Make) -> None:
    fit = FitConfig(epochs=1000, max_minutes=0.03, precision="fp32", batch_size=4)
    trained = train(recipe(make_colours(40, seed=15), make_colours(9, seed=3), fit=fit))
    *_, last = lines = metrics(trained.folder)
    assert "dev" in last
    assert last["epoch"] >= max(line.get("epoch", 0) for line in lines)


@pytest.mark.parametrize("minutes", [1e-4, 10])
def test_what_scoring_takes_is_foreseen_from_some_text(
    minutes: float, recipe: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    sizes = []
    read = DevReader._read

    def noted(self: DevReader, examples: Sequence[Example]) -> list[Prediction]:
        sizes.append(len(examples))
        return read(self, examples)

    monkeypatch.setattr(DevReader, "_read", noted)
    dev = [replace(x, context=x.context.ljust(10_000, ".")) for x in make_colours(5, seed=3)]
    fit = FitConfig(epochs=1, max_minutes=minutes, precision="fp32", batch_size=4)
    train(recipe(make_colours(8, seed=15), dev, fit=fit))
    assert sizes == [3, 5]
    warned = "less is left than scoring and saving take" in caplog.text
    assert warned == ("allow more, or give less in dev" in caplog.text) == (minutes < 1)


def test_the_learning_rate_falls_to_zero_by_steps_or_by_time() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    used = 0.0
    schedule = make_schedule(optimizer, FitConfig(warmup=0.2), steps=10, used=lambda: used)
    rates = []
    for used in (0, 0, 0, 0, 0, 0.5, 1):  # noqa: B007 - the schedule asks for it
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([1, 1, 0.875, 0.75, 0.625, 0.5, 0])


def test_the_warm_up_goes_by_the_time_where_time_is_short() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    used = 0.0
    schedule = make_schedule(optimizer, FitConfig(warmup=0.2), steps=10_000, used=lambda: used)
    rates = []
    for used in (0.1, 0.2, 0.6, 1):  # noqa: B007 - the schedule asks for it
        optimizer.step()
        schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    assert rates == pytest.approx([0.5, 1, 0.5, 0])


def test_a_budget_of_tokens_gives_each_epoch_as_many_batches(encoder: Path) -> None:
    windows = make_windows(make_colours(150, seed=8), PairTokenizer.from_folder(encoder), WINDOW)
    rows = np.arange(0, len(windows), 2)
    lengths = windows.lengths[rows]
    batches = Batches(windows, rows, FitConfig(batch_tokens=150), pad_token_id=0)
    first = len(batches)
    over = 0
    for epoch in range(8):
        batches.set_epoch(epoch)
        assert len(batches) == len(batches.plan) == first
        assert sorted(n for batch in batches.plan for n in batch.tolist()) == list(range(len(rows)))
        over += sum(lengths[batch].max() * len(batch) > 150 for batch in batches.plan)
    assert over < 0.01 * 8 * first


def test_a_run_without_padding_gives_the_losses_of_one_with_it(
    recipe: Make, encoder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(encoder, tmp_path / "encoder")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_dropout_prob": 0.0}))
    losses = []
    for packing in (False, True):
        fit = FitConfig(packing=packing, precision="fp32", batch_tokens=80, epochs=2)
        out = str(tmp_path / f"run-{packing}")
        run = train(recipe(make_colours(60, seed=4), fit=fit, model=str(folder), out=out))
        losses.append([line["loss"] for line in metrics(run.folder) if "loss" in line])
    assert losses[0]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_packing_a_model_that_cannot_be_packed_is_refused(
    recipe: Make, encoder: Path, tmp_path: Path
) -> None:
    mpnet = shutil.copytree(encoder, tmp_path / "mpnet")
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    transformers.MPNetModel(
        transformers.MPNetConfig(vocab_size=200, intermediate_size=8, **size)
    ).save_pretrained(mpnet)
    fit = FitConfig(packing=True, precision="fp32")
    with pytest.raises(ConfigError, match="'mpnet'"):
        train(recipe(make_colours(5, seed=4), fit=fit, model=str(mpnet)))


def test_progress_tells_step_loss_pace_and_time_left(recipe: Make) -> None:
    seen: list[Progress] = []
    fit = FitConfig(epochs=3, batch_size=4, precision="fp32")
    train(recipe(make_colours(40, seed=16), fit=fit), progress=seen.append)
    assert [progress.step for progress in seen] == list(range(1, 31))
    assert {progress.steps for progress in seen} == {30}
    assert seen[0].loss is None
    assert seen[-1].loss is not None
    assert all(progress.windows_per_second > 0 for progress in seen)
    assert seen[-1].seconds_left == 0


def test_a_loss_that_is_not_finite_stops_the_run(
    recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "spanwise.training.run.span_loss", lambda *a, **k: span_loss(*a, **k) * float("nan")
    )
    fit = FitConfig(batch_size=2, precision="fp32", learning_rate=0.5)
    with pytest.raises(ConfigError, match=r"loss became nan in the first epoch.*0\.5"):
        train(recipe(make_colours(40, seed=17), fit=fit))


def test_weights_that_are_not_finite_are_not_kept_where_no_loss_was_told(recipe: Make) -> None:
    fit = FitConfig(weight_decay=1e300, precision="fp32", learning_rate=0.25)
    with pytest.raises(ConfigError, match=r"loss became nan in the first epoch.*0\.25"):
        train(recipe(make_colours(5, seed=17), fit=fit))


def test_a_loss_that_fails_later_leaves_the_last_good_epoch(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = 0

    def fails_in_the_second_epoch(*arguments: Any, **named: Any) -> torch.Tensor:
        nonlocal calls
        calls += 1
        return span_loss(*arguments, **named) * (1 if calls <= 20 else float("nan"))

    monkeypatch.setattr("spanwise.training.run.span_loss", fails_in_the_second_epoch)
    fit = FitConfig(epochs=3, batch_size=2, precision="fp32")
    trained = train(recipe(make_colours(40, seed=18), fit=fit))
    assert trained.epoch == 1
    assert "the loss became nan; the run was stopped and epoch 1 is kept" in caplog.text
    weights = load_reader_model(trained.folder, {"kind": "linear"}).state_dict()
    assert all(torch.isfinite(tensor).all() for tensor in weights.values())


def test_a_collapsed_reader_is_reported(recipe: Make, caplog: pytest.LogCaptureFixture) -> None:
    dev = [*make_colours(9, seed=19, unanswerable=1.0), *make_colours(1, seed=20)]
    fit = FitConfig(epochs=4, learning_rate=3e-3, precision="fp32")
    train(recipe(make_colours(60, seed=21, unanswerable=0.97), dev, fit=fit))
    assert caplog.text.count("answers nothing on all 10 dev questions") == 1


def test_a_loss_that_does_not_fall_is_reported(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    fit = FitConfig(epochs=10, batch_size=4, learning_rate=1e-12, precision="fp32")
    train(recipe(make_colours(40, seed=22), fit=fit))
    assert "the loss is not falling" in caplog.text


def test_answers_in_no_window_are_reported(recipe: Make, caplog: pytest.LogCaptureFixture) -> None:
    noun = " ".join(["lamp"] * 30)
    long = Example(
        id="long", question="which ?", context=f"number {noun}",
        answers=(Gold(text=noun, start=7, end=7 + len(noun)),),
    )  # fmt: skip
    train(recipe([*make_colours(9, seed=23), long]))
    assert "1 of 10 answers lie in no window" in caplog.text


def test_dev_that_overlaps_train_is_reported(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    examples = make_colours(10, seed=24)
    train(recipe(examples, examples[:3]))
    assert "3 contexts stand in train and in dev" in caplog.text


def test_parameters_device_and_precision_are_said(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    train(recipe(make_colours(5, seed=25), fit=FitConfig(freeze="encoder", precision="fp32")))
    assert "66 of " in caplog.text  # two rows of 32 weights and two biases
    assert "BertForQuestionAnswering on cpu in fp32" in caplog.text


def test_max_length_is_clipped_to_the_positions(
    recipe: Make, caplog: pytest.LogCaptureFixture
) -> None:
    folder = train(recipe(make_colours(5, seed=26), window=WindowSettings(max_length=384))).folder
    settings = read_settings(folder)
    assert settings is not None
    assert settings.window.max_length == 64


def test_the_tokenizer_of_another_model_is_refused(
    recipe: Make, make_encoder: Callable[..., Path]
) -> None:
    with pytest.raises(CheckpointError, match="embeddings of 9: the tokenizer belongs to another"):
        train(recipe(make_colours(5, seed=4), model=str(make_encoder(vocab_size=9))))


def test_faulty_data_is_refused_before_anything_is_written(recipe: Make, tmp_path: Path) -> None:
    wrong = replace(make_colours(1, seed=27)[0], answers=(Gold(text="lamp", start=-3, end=1),))
    with pytest.raises(ValueError, match="-3"):
        train(recipe([wrong]))
    moved = replace(wrong, context="the lamp is old", answers=(Gold(text="lamp", start=5, end=9),))
    with pytest.raises(AlignmentError, match=r"'lamp' is not at context\[5:9\]"):
        train(recipe([moved]))
    assert not (tmp_path / "run").exists()


def test_unlabelled_questions_do_not_pass_as_unanswerable(recipe: Make) -> None:
    unlabelled = replace(make_colours(1, seed=32)[0], id="u7", answers=None)
    labelled = make_colours(5, seed=33)
    with pytest.raises(FormatError, match=r"'u7'.*has no label"):
        train(recipe([*labelled, unlabelled]))
    with pytest.raises(FormatError, match=r"'u7'.*has no label"):
        train(recipe(labelled, [unlabelled]))


def test_a_folder_that_holds_something_is_refused(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("years of work")
    with pytest.raises(ConfigError, match="run', which is not empty"):
        train(recipe(make_colours(5, seed=28)))
    assert (tmp_path / "run" / "thesis.txt").read_text() == "years of work"


@pytest.mark.parametrize("out", ["train.json", "train.json/run", "nul\0l", "x" * 300])
def test_a_place_where_no_folder_can_be_made_is_named(
    recipe: Make, tmp_path: Path, out: str
) -> None:
    with pytest.raises(ConfigError, match=r"out is '.*, where no folder can be made: .*; name"):
        train(recipe(make_colours(5, seed=28), out=str(tmp_path / out)))


def test_a_log_that_the_trainer_cannot_write_is_refused_before_anything_is_written(
    recipe: Make, tmp_path: Path
) -> None:
    fit = FitConfig(report_to=("paper",))
    with pytest.raises(ConfigError, match=r"fit\.report_to is \['paper'\]: paper is not supported"):
        train(recipe(make_colours(5, seed=30), fit=fit))
    assert not (tmp_path / "run").exists()


def test_bf16_where_the_machine_only_emulates_it_is_warned_of(
    recipe: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("spanwise.training.run.computes_bf16", lambda _: False)
    train(recipe(make_colours(5, seed=29), fit=FitConfig(precision="bf16")))
    assert "'fp32' would be faster" in caplog.text


def test_every_problem_of_a_config_is_reported_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig(
            model="m", train=(), out="o",
            fit=FitConfig(
                learning_rate=-1.0, batch_size=0, warmup=1.5, patience=2, cache_gb=-3.0,
                weight_decay=math.inf,
            ),
        )  # fmt: skip
    assert len(caught.value.problems) == 7
    for part in (
        *("learning_rate is -1.0", "batch_size is 0", "warmup is 1.5", "patience is 2"),
        "cache_gb is -3.0: it must be at least 0",
        "weight_decay is inf: it must be finite and at least 0",
    ):
        assert part in str(caught.value)


@pytest.mark.parametrize("value", [-0.5, 2e6, math.inf, math.nan])
def test_doubts_that_no_reader_could_store_are_refused(value: float) -> None:
    decode = DecodeConfig(second_look=value, missing_name=value)
    with pytest.raises(ConfigError) as caught:
        TrainConfig(train=("t",), out="o", decode=decode)
    assert list(caught.value.problems) == [
        f"decode.{name} is {value}: it must be from 0 to 1,000,000"
        for name in ("second_look", "missing_name")
    ]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_does_not_take_is_refused(recipe: Make, seed: int) -> None:
    with pytest.raises(
        ConfigError, match=rf"fit\.seed is {seed}: it must be from 0 to below 2\^32"
    ):
        recipe(make_colours(1, seed=31), fit=FitConfig(seed=seed))


@pytest.mark.slow
def test_the_trainer_reports_to_tensorboard(recipe: Make) -> None:
    fit = FitConfig(epochs=2, batch_size=2, report_to=("tensorboard",), precision="fp32")
    folder = train(recipe(make_colours(20, seed=30), make_colours(4, seed=31), fit=fit)).folder
    assert list(folder.rglob("events.out.tfevents*"))

"""States of a frozen encoder: what they equal, when a file is taken, and what is never read."""

import logging
import os
import pickle
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import nn
from transformers import AutoModel, AutoModelForQuestionAnswering

import spanwise.states
from spanwise.errors import ConfigError
from spanwise.model import MlpHead, SpanModel, accepts_type_ids
from spanwise.model.heads import base_of
from spanwise.schema import Windows
from spanwise.states import HeadModel, States, detach_head, encode_states

PAD = 1  # as RoBERTa's kind has it
LENGTHS = (9, 3, 24, 24, 5, 17, 1)
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 40,
    "pad_token_id": PAD,
}
DISTILBERT = {"dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32}
MODERNBERT = dict.fromkeys(("bos_token_id", "cls_token_id", "eos_token_id", "sep_token_id"), 2)
BART = {
    "d_model": 16,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
T5 = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 1, "num_heads": 2}
XLNET = {"vocab_size": 50, "d_model": 16, "n_layer": 1, "n_head": 2, "d_inner": 32}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES | {"type_vocab_size": 1},
    "distilbert": SIZES | DISTILBERT,
    "electra": SIZES | {"embedding_size": 8},
    "modernbert": SIZES | MODERNBERT | {"local_attention": 8},
}
NEEDS_MORE: dict[str, dict[str, Any]] = {
    "bart": SIZES | BART,
    "t5": SIZES | T5 | {"decoder_start_token_id": 0},
    "xlnet": XLNET,  # its memory of earlier text
    "big_bird": SIZES | {"attention_type": "original_full"},  # segments made of separators
    "longformer": SIZES | {"attention_window": 8, "sep_token_id": 2},  # three separators
}
Encode = Callable[..., States]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the files of a test lie."""
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path))
    return tmp_path / "states"


def make_model(family: str = "bert", *, head: str = "linear", **changes: Any) -> Any:
    """A random model with dropout, in training mode."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **FAMILIES.get(family, {}), **changes)
    if head == "linear":
        return AutoModelForQuestionAnswering.from_config(config).train()
    return SpanModel(AutoModel.from_config(config), MlpHead(16, width=8, depth=2)).train()


def make_windows(lengths: tuple[int, ...] = LENGTHS, *, seed: int = 1) -> Windows:
    draw = np.random.default_rng(seed)
    size, none = sum(lengths), np.zeros(len(lengths), dtype=np.int32)
    return Windows(
        row_splits=np.cumsum([0, *lengths]),
        input_ids=draw.integers(5, 50, size, dtype=np.int32),
        type_ids=draw.integers(0, 2, size, dtype=np.int32),
        offsets=np.zeros((size, 2), dtype=np.int32),
        edges=np.zeros((size, 2), dtype=np.int32),
        example=none, null_position=none, first=none, last=none,
    )  # fmt: skip


def encode(model: nn.Module, windows: Windows, **changes: Any) -> States:
    states = encode_states(model, windows, **({"pad_token_id": PAD} | changes))
    assert states is not None
    return states


def one_by_one(model: Any, windows: Windows) -> list[torch.Tensor]:
    """States of each window alone: no padding, no dropout, no file."""
    mode, results = model.training, []
    with torch.no_grad():
        for begin, end in zip(windows.row_splits[:-1], windows.row_splits[1:], strict=True):
            inputs = {"input_ids": torch.from_numpy(windows.input_ids[None, begin:end]).long()}
            if accepts_type_ids(model):
                types = torch.from_numpy(windows.type_ids[None, begin:end])
                inputs["token_type_ids"] = types.long()
            results.append(base_of(model.eval())(**inputs).last_hidden_state[0])
    model.train(mode)
    return results


def files(cache: Path) -> list[Path]:
    return sorted(cache.glob("*"))


# -- what the states are -----------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_states_equal_those_of_each_window_alone(family: str) -> None:
    model, windows = make_model(family), make_windows()
    expected = one_by_one(model, windows)
    for dtype, tolerance in (("float32", 1e-6), ("float16", 1e-3)):
        states = encode(model, windows, dtype=dtype)
        assert len(states) == len(LENGTHS)
        assert states.rows.shape == (sum(LENGTHS), 16)
        assert states.rows.dtype == dtype
        for window, theirs in enumerate(expected):
            ours = torch.from_numpy(np.array(states[window])).float()
            torch.testing.assert_close(ours, theirs, atol=tolerance, rtol=tolerance)
    assert all(module.training for module in model.modules())


def test_under_autocast_they_are_near_those_in_float32_and_other_ones() -> None:
    model, windows = make_model(), make_windows()
    plain = encode(model, windows)
    rough = encode(model, windows, bf16=True)
    assert not np.array_equal(plain.rows, rough.rows)
    np.testing.assert_allclose(rough.rows, plain.rows, atol=0.05)


def test_only_the_rows_asked_for_are_encoded() -> None:
    model, windows = make_model(), make_windows()
    every = encode(model, windows)
    some = encode(model, windows, rows=np.array([5, 0, 3]))
    assert [len(some[position]) for position in range(3)] == [17, 9, 24]
    for position, window in enumerate((5, 0, 3)):
        np.testing.assert_allclose(some[position], every[window], atol=1e-6)


def test_padding_gives_the_windows_and_zeros() -> None:
    rows = np.arange(1, 37, dtype=np.float32).reshape(18, 2)
    states = States(row_splits=np.array([0, 4, 5, 15, 18]), rows=rows)
    padded = states.pad([3, 0, 1])
    assert padded.shape == (3, 4, 2)
    for row, window in zip(padded, (3, 0, 1), strict=True):
        size = len(states[window])
        np.testing.assert_array_equal(row[:size], states[window])
        assert not row[size:].any()
    with pytest.raises(IndexError, match="no window 4; there are 4"):
        states[4]


# -- the head without its encoder --------------------------------------------------------------


@pytest.mark.parametrize("head", ["linear", "mlp"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_head_says_to_the_states_what_the_model_says_to_the_tokens(
    family: str, head: str
) -> None:
    model = make_model(family, head=head)
    alone = detach_head(model)
    assert alone is not None
    assert all(module.training for module in (*alone.modules(), *model.modules()))
    inputs = {"input_ids": torch.arange(5, 29).reshape(2, 12)}
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    model.eval(), alone.eval()
    with torch.no_grad():
        states = base_of(model)(**inputs).last_hidden_state
        whole, ours = model(**inputs), alone(**inputs, states=states)
        half = alone(**inputs, states=states.half())
    torch.testing.assert_close(ours.start_logits, whole.start_logits)
    torch.testing.assert_close(ours.end_logits, whole.end_logits)
    torch.testing.assert_close(half.end_logits, whole.end_logits, atol=1e-3, rtol=1e-3)


def test_a_head_learns_for_the_model_and_has_nothing_of_the_encoder() -> None:
    model = make_model("modernbert")
    head = detach_head(model)
    assert head is not None
    mine = {id(parameter) for parameter in head.parameters()}
    encoder = {id(parameter) for parameter in base_of(model).parameters()}
    assert mine == {id(parameter) for parameter in model.parameters()} - encoder
    assert len(mine) == 4
    head.eval()
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("family", NEEDS_MORE)
def test_a_model_whose_logits_need_more_than_the_last_states_has_no_head_alone(family: str) -> None:
    model = make_model(family, **NEEDS_MORE[family])
    assert detach_head(model) is None
    assert all(module.training for module in model.modules())


# -- the file ----------------------------------------------------------------------------------


def test_windows_are_encoded_once(cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    calls: list[tuple[int, int]] = []
    model, windows = make_model(), make_windows()
    first = encode(model, windows, progress=lambda *done: calls.append(done))
    assert calls == [(len(LENGTHS), len(LENGTHS))]
    (file,) = files(cache)
    assert f"the states of 7 windows, 0.00 GB of float32, are written to {file}" in caplog.text
    again = encode(model, windows, progress=lambda *done: calls.append(done))
    assert len(calls) == 1
    assert f"are read from {file}" in caplog.text
    np.testing.assert_array_equal(again.rows, first.rows)


def test_progress_and_the_time_left_are_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    monkeypatch.setattr(spanwise.states, "_SILENCE", 0.0)
    monkeypatch.setattr(spanwise.states, "_BUDGET", {"cpu": 48})
    calls: list[tuple[int, int]] = []
    encode(make_model(), make_windows(), progress=lambda *done: calls.append(done))
    assert calls == [(2, 7), (4, 7), (7, 7)]
    assert "encoded 2 of 7 windows, " in caplog.text
    assert " a second, 0:00 left" in caplog.text


def test_the_size_is_announced_before_anything_is_encoded(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    said: list[str] = []
    encode(make_model(), make_windows(), progress=lambda *_: said.append(caplog.text))
    assert "0.00 GB of float32, are written to" in said[0]


def test_heads_share_a_file() -> None:
    """Also where one class has a pooler, the other none, and the heads differ in weights."""
    linear, mlp, windows = make_model(), make_model(head="mlp"), make_windows()
    missing, _ = mlp.encoder.load_state_dict(linear.bert.state_dict(), strict=False)
    assert missing == ["pooler.dense.weight", "pooler.dense.bias"]
    mlp.config.architectures = ["BertModel"]
    calls: list[Any] = []
    for model in (linear, mlp):
        encode(model, windows, progress=lambda *done: calls.append(done))
    nn.init.normal_(linear.qa_outputs.weight)
    encode(linear, windows, progress=lambda *done: calls.append(done))
    assert len(calls) == 1


def _change_weight(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    with torch.no_grad():
        model.bert.encoder.layer[1].output.dense.bias[3] += 0.125
    return model, windows, {}


def _change_config(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    return make_model(layer_norm_eps=1e-3), windows, {}


def _change_token(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    ids = windows.input_ids.copy()
    ids[7] = 4
    return model, replace(windows, input_ids=ids), {}


def _change_segment(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    return model, replace(windows, type_ids=1 - windows.type_ids), {}


def _change_cuts(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    return model, replace(windows, row_splits=np.cumsum([0, 8, 4, *LENGTHS[2:]])), {}


def _change_rows(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    return model, windows, {"rows": np.array([0, 1, 3, 2, 4, 5, 6])}  # 2 and 3 are as long


def _change_padding(model: Any, windows: Windows) -> tuple[Any, Windows, dict[str, Any]]:
    return model, windows, {"pad_token_id": 0}


@pytest.mark.parametrize(
    "change",
    [
        *(_change_weight, _change_config, _change_token, _change_segment),
        *(_change_cuts, _change_rows, _change_padding),
    ],
)
def test_whatever_the_states_depend_on_makes_another_file(
    change: Callable[..., tuple[Any, Windows, dict[str, Any]]], cache: Path
) -> None:
    model, windows = make_model(), make_windows()
    encode(model, windows)
    model, windows, settings = change(model, windows)
    states = encode(model, windows, **settings)
    assert len(files(cache)) == 2
    if "pad_token_id" not in settings:
        expected = one_by_one(model, windows)
        rows = settings.get("rows", range(7))
        for position, window in enumerate(rows):
            np.testing.assert_allclose(states[position], expected[window], atol=1e-6)


def _cut_short(folder: Path) -> None:
    os.truncate(folder / "states.npy", (folder / "states.npy").stat().st_size - 1)


def _empty(folder: Path) -> None:
    (folder / "states.npy").write_bytes(b"")


def _put_text(folder: Path) -> None:
    (folder / "states.npy").write_text("years of work")


def _put_other_states(folder: Path) -> None:
    np.save(folder / "states.npy", np.ones((sum(LENGTHS), 16), dtype=np.float32))


def _put_other_folder(folder: Path) -> None:
    encode(make_model(layer_norm_eps=0.1), make_windows())
    (other,) = set(files(folder.parent)) - {folder}
    shutil.rmtree(folder)
    shutil.copytree(other, folder)


def _lose_manifest(folder: Path) -> None:
    (folder / "spanwise.json").unlink()


def _lose_states(folder: Path) -> None:
    (folder / "states.npy").unlink()


def _spoil_manifest(folder: Path) -> None:
    (folder / "spanwise.json").write_bytes(b"\xff")


def _bury_manifest(folder: Path) -> None:
    (folder / "spanwise.json").write_bytes(b"[" * 100_000)


def _spoil_header(folder: Path) -> None:
    content = (folder / "states.npy").read_bytes()
    (folder / "states.npy").write_bytes(content.replace(b")", b"\x10", 1))


@pytest.mark.parametrize(
    "damage",
    [
        *(_cut_short, _empty, _put_text, _put_other_states, _put_other_folder),
        *(_lose_manifest, _lose_states, _spoil_manifest, _bury_manifest, _spoil_header),
    ],
)
def test_a_damaged_or_foreign_file_is_made_anew(
    damage: Callable[[Path], None], cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model, windows = make_model(), make_windows()
    expected = np.array(encode(model, windows).rows)
    (folder,) = files(cache)
    damage(folder)
    calls: list[Any] = []
    for _ in range(2):
        states = encode(model, windows, progress=lambda *done: calls.append(done))
        np.testing.assert_array_equal(states.rows, expected)
    assert len(calls) == 1
    assert f"{folder} does not hold what was written there" in caplog.text


def test_a_damaged_folder_that_another_process_has_taken_away_is_no_error(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, windows = make_model(), make_windows()
    expected = np.array(encode(model, windows).rows)
    (folder,) = files(cache)
    _cut_short(folder)
    rename = Path.rename

    def too_late(path: Path, target: Path) -> Path:
        if path == folder:
            shutil.rmtree(folder)
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", too_late)
    np.testing.assert_array_equal(encode(model, windows).rows, expected)


def test_processes_that_start_together_encode_once(
    cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="spanwise")
    model, windows = make_model(), make_windows()
    calls: list[Any] = []
    other = Thread(target=encode, args=(model, windows))

    def begin_another(*done: int) -> None:
        calls.append(done)
        if len(calls) == 1:
            other.start()
            while "being encoded by another process: this one waits" not in caplog.text:
                time.sleep(0.01)

    encode(model, windows, progress=begin_another)
    other.join()
    assert caplog.text.count("are written to") == 1
    assert caplog.text.count("are read from") == 1
    assert len(files(cache)) == 1


def test_another_process_is_given_the_file_and_not_its_content(cache: Path) -> None:
    states = encode(make_model(), make_windows())
    small = pickle.dumps(states)
    assert states.rows.nbytes > 2 * len(small)
    in_memory = pickle.dumps(States(row_splits=states.row_splits, rows=np.array(states.rows)))
    for pickled in (small, in_memory):
        np.testing.assert_array_equal(pickle.loads(pickled).rows, states.rows)  # noqa: S301


def test_a_killed_write_leaves_nothing_that_is_read_and_is_swept_away_in_time(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def kill(*_: int) -> None:
        raise KeyboardInterrupt

    model, windows = make_model(), make_windows()
    monkeypatch.setattr(spanwise.states, "_BUDGET", {"cpu": 48})
    with pytest.raises(KeyboardInterrupt):
        encode(model, windows, progress=kill)
    assert not files(cache)
    with monkeypatch.context() as dead:  # no clearing up: what SIGKILL leaves
        dead.setattr("spanwise.checkpoints.shutil.rmtree", lambda *_, **__: None)
        with pytest.raises(KeyboardInterrupt):
            encode(model, windows, progress=kill)
    (left,) = files(cache)
    calls: list[Any] = []
    encode(model, windows, progress=lambda *done: calls.append(done))
    assert len(calls) == 3
    assert left in files(cache)  # another run may be writing it
    os.utime(left / "states.npy", (0, 0))
    encode(model, windows, dtype="float16")
    assert left not in files(cache)


def test_what_is_too_large_is_refused_with_numbers(
    cache: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model, windows = make_model(), make_windows()
    monkeypatch.setattr(spanwise.states, "_GB", 100.0)  # 83 tokens of 64 bytes: 53.12
    assert encode_states(model, windows, pad_token_id=PAD, cache_gb=53.0) is None
    assert "the states of 7 windows, 53.12 GB of float32, are not kept" in caplog.text
    assert "cache_gb allows 53 GB" in caplog.text
    encode(model, windows, cache_gb=54.0)

    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=2650.0))
    assert encode_states(model, windows, pad_token_id=PAD, dtype="float16", cache_gb=30) is None
    assert "26.56 GB of float16, are not kept: cache_gb allows 30 GB, and 26.50" in caplog.text
    assert len(files(cache)) == 1


def test_the_place_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, windows = make_model(), make_windows()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.delenv("SPANWISE_CACHE")
    encode(model, windows)
    monkeypatch.delenv("XDG_CACHE_HOME")
    encode(model, windows)
    found = {path.parent.parent.relative_to(tmp_path) for path in tmp_path.rglob("states.npy")}
    assert found == {Path("xdg/spanwise/states"), Path("home/.cache/spanwise/states")}


def test_a_home_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SPANWISE_CACHE", "~/kept")
    encode(make_model(), make_windows())
    assert files(tmp_path / "kept" / "states")


def test_a_place_that_cannot_be_written_to_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SPANWISE_CACHE", str(tmp_path / "file"))
    with pytest.raises(ConfigError, match=r"file/states/\w+: .*: Not a directory; set SPANWISE_"):
        encode(make_model(), make_windows())


def test_states_that_float16_does_not_hold_are_refused(cache: Path) -> None:
    model, windows = make_model(), make_windows()
    nn.init.constant_(model.bert.encoder.layer[1].output.LayerNorm.weight, 1e6)
    with pytest.raises(ConfigError, match=r"up to \d\.\d+e\+06, which float16 does not hold"):
        encode(model, windows, dtype="float16")
    assert not files(cache)
    assert encode(model, windows).rows.max() > 1e5


def test_a_head_model_leaves_the_model_as_it_is() -> None:
    model = make_model("bert")
    names = [name for name, _ in model.named_parameters()]
    HeadModel(model)
    assert [name for name, _ in model.named_parameters()] == names

"""An exported reader answers as its source does, or is not written."""

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from threading import Event
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from spanwise.backends import OnnxBackend
from spanwise.batching import collate, plan_batches
from spanwise.checkpoints import read_settings, write_settings
from spanwise.errors import CheckpointError, ConfigError, ParityError
from spanwise.evaluation import evaluate, fit_calibration
from spanwise.exporting import export_model, exporting, parity
from spanwise.model import load_reader_model, load_training_model, save_model, unexported
from spanwise.reader import Reader
from spanwise.schema import Batch, Calibration, Example, Floats, Logits, WindowSettings
from spanwise.windows import PairTokenizer, make_windows
from tests.readers_zoo import EXAMPLES, FAMILIES, PAIRS, SETTINGS, graph_at_hand, save_reader
from tests.windows_zoo import kind


def same_answers(first: Path, second: Path) -> None:
    """Both folders give the same best spans, with scores that differ by rounding."""
    found = [Reader.from_pretrained(folder).answer_many(PAIRS) for folder in (first, second)]
    for one, other in zip(*found, strict=True):
        assert (one.best is None) == (other.best is None)
        assert one.null_score == pytest.approx(other.null_score, abs=1e-3)
        scores = [[answer.score for answer in prediction.answers] for prediction in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-3)


# -- what is written -----------------------------------------------------------------------------


def test_an_export_holds_all_that_a_reader_needs(reader: Path, exported: Path) -> None:
    assert {file.name for file in exported.iterdir()} == {
        *("model.onnx", "config.json", "spanwise.json"),
        *("tokenizer.json", "tokenizer_config.json"),
    }
    settings = read_settings(exported)
    assert settings is not None
    assert settings.window == SETTINGS.window
    assert settings.export["precision"] == "float32"
    assert settings.export["positions"] == 80
    assert isinstance(Reader.from_pretrained(exported).backend, OnnxBackend)
    same_answers(reader, exported)


def test_windows_longer_than_an_exports_positions_are_cut(exported: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(exported, tmp_path / "longer")
    settings = read_settings(exported)
    assert settings is not None
    write_settings(folder, replace(settings, window=WindowSettings(max_length=500)))
    reader = Reader.from_pretrained(folder)
    assert reader.settings.window.max_length == 80
    question, text = PAIRS[0]
    assert reader.answer(question, f"{text} " * 100).answers


def test_an_export_says_nothing_of_the_machine(exported: Path) -> None:
    graph = (exported / "model.onnx").read_bytes()
    for place in (Path(torch.__file__).parent, Path(parity.__file__).parent):
        assert str(place).encode() not in graph


def read_padded(folder: Path, exported: Path) -> None:
    """The graph itself takes batches of any size and length, padding included."""
    network = load_reader_model(folder, {"kind": "linear"})
    session = onnxruntime.InferenceSession(exported / "model.onnx")
    names = [node.name for node in session.get_inputs()]
    assert all(isinstance(size, str) for node in session.get_inputs() for size in node.shape)
    draw = np.random.default_rng(3)
    settings = read_settings(exported)
    assert settings is not None
    for rows, tokens in ((1, 2), (1, 40), (4, 11), (7, settings.export["positions"])):
        lengths = draw.integers(1, tokens, rows, endpoint=True)
        mask = (np.arange(tokens) < lengths[:, None]).astype(np.int64)
        ids = draw.integers(1, 60, (rows, tokens)) * mask
        types = (np.arange(tokens) > tokens // 2) * mask
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        inputs = {name: given[name] for name in names}
        found = session.run(["start_logits", "end_logits"], inputs)
        with torch.no_grad():
            wanted = network(**{name: torch.as_tensor(x) for name, x in inputs.items()})
        for logits, side in zip(found, (wanted.start_logits, wanted.end_logits), strict=True):
            np.testing.assert_allclose(logits[mask == 1], side.numpy()[mask == 1], atol=1e-4)


def test_a_graph_takes_batches_of_any_size_and_length(reader: Path, exported: Path) -> None:
    read_padded(reader, exported)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_answer_the_same_exported(family: str, tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader", family)
    done = export_model(folder, tmp_path / "out")
    assert done.apart < 1e-5
    same_answers(folder, done.folder)
    read_padded(folder, done.folder)
    settings = read_settings(done.folder)
    assert settings is not None
    with unexported(done.folder, settings.export["parameters"]) as whole:
        found = load_training_model(whole, settings.head).state_dict()
    for name, values in load_training_model(folder, settings.head).state_dict().items():
        torch.testing.assert_close(found[name], values, atol=0, rtol=0)


@pytest.mark.slow
def test_full_windows_are_exported(tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader", max_position_embeddings=512)
    done = export_model(folder, tmp_path / "out")
    assert done.apart < 1e-5
    settings = read_settings(done.folder)
    assert settings is not None
    assert settings.export["positions"] == 512
    read_padded(folder, done.folder)


def test_a_context_first_tokenizer_is_exported(exported: Path, tmp_path: Path) -> None:
    tokenizer = kind("left-padded").tokenizer
    sizes: dict[str, Any] = {"vocab_size": tokenizer.get_vocab_size(), "type_vocab_size": 3}
    folder = save_reader(tmp_path / "reader", **sizes)
    (folder / "spanwise.json").unlink()  # a checkpoint of the Hub
    PairTokenizer(tokenizer, kind("left-padded").config).save(folder)
    export_model(folder, tmp_path / "out")
    settings = read_settings(tmp_path / "out")
    assert settings is not None
    assert settings.window.context_first
    same_answers(folder, tmp_path / "out")


@pytest.mark.slow
def test_a_custom_head_is_exported_and_taken_back(tmp_path: Path, encoder: Path) -> None:
    head = {"kind": "mlp", "depth": 2, "width": 24, "dropout": 0.1}
    torch.manual_seed(1)
    model = load_training_model(encoder, head).eval()
    (tmp_path / "reader").mkdir()
    save_model(model, tmp_path / "reader")
    PairTokenizer.from_folder(encoder).save(tmp_path / "reader")
    write_settings(tmp_path / "reader", replace(SETTINGS, head=head))
    export_model(tmp_path / "reader", tmp_path / "out", int8=True)
    settings = read_settings(tmp_path / "out")
    assert settings is not None
    with unexported(tmp_path / "out", settings.export["parameters"]) as whole:
        again = load_reader_model(whole, head)
    read = {name: x for name, x in model.state_dict().items() if ".pooler." not in name}
    for name, values in read.items():
        kept = torch.equal(values, again.state_dict()[name])
        assert kept or not name.startswith("head.")  # the head keeps its floats
        torch.testing.assert_close(again.state_dict()[name], values, atol=0.02, rtol=0)


# -- eight bits ----------------------------------------------------------------------------------


def test_eight_bits_are_smaller_and_do_not_depend_on_company(
    exported: Path, eight_bits: Path
) -> None:
    sizes = [(folder / "model.onnx").stat().st_size for folder in (eight_bits, exported)]
    assert sizes[0] < sizes[1]
    model = Reader.from_pretrained(eight_bits)
    alone = [model.answer(*pair) for pair in PAIRS]
    for batch_tokens in (1, 100, 4096):
        together = Reader(
            OnnxBackend(eight_bits / "model.onnx", threads=3),
            model.tokenizer,
            model.settings,
            batch_tokens=batch_tokens,
        ).answer_many(PAIRS)
        assert [replace(one, id="0") for one in together] == alone


def test_logits_are_the_same_to_a_bit_in_any_batch(eight_bits: Path) -> None:
    tokenizer = PairTokenizer.from_folder(eight_bits)
    windows = make_windows(EXAMPLES, tokenizer, SETTINGS.window)
    found: list[dict[int, list[bytes]]] = []
    for size in (1, 100, 4096):
        backend = OnnxBackend(eight_bits / "model.onnx")
        logits: dict[int, list[bytes]] = {}
        for rows in plan_batches(windows.lengths, batch_tokens=size):
            batch = collate(windows, rows, pad_token_id=0)
            given = backend(batch)
            for row, example in enumerate(batch.example.tolist()):
                real = batch.attention_mask[row] == 1
                sides = (given.start_logits[row, real], given.end_logits[row, real])
                logits.setdefault(example, []).append(np.stack(sides).tobytes())
        found.append({example: sorted(values) for example, values in logits.items()})
    assert found[0] == found[1] == found[2]


def test_logits_are_the_same_to_a_bit_in_any_company(eight_bits: Path) -> None:
    backend = OnnxBackend(eight_bits / "model.onnx", threads=2)
    windows = make_windows(EXAMPLES, PairTokenizer.from_folder(eight_bits), SETTINGS.window)
    alone = [backend(collate(windows, [n], pad_token_id=0)) for n in range(len(windows))]
    draw = np.random.default_rng(1)
    for size in (2, 3, 7, len(windows)):
        some = draw.permutation(len(windows))[:size]
        batch = collate(windows, some, pad_token_id=0)
        together = backend(batch)
        for row, number in enumerate(some):
            real = batch.attention_mask[row] == 1
            for side in ("start_logits", "end_logits"):
                own = getattr(alone[number], side)[0]
                assert getattr(together, side)[row, real].tobytes() == own.tobytes()


def test_windows_are_read_ahead_and_given_up(
    eight_bits: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OnnxBackend(eight_bits / "model.onnx", threads=1)
    windows = make_windows(EXAMPLES, PairTokenizer.from_folder(eight_bits), SETTINGS.window)
    batch, other, last = (
        collate(windows, rows, pad_token_id=0) for rows in ([0, 1, 2, 3], [0, 1], [0])
    )
    run, asked, begun, told = backend._run, [], Event(), Event()

    def fail_first(some: Batch, row: int, tokens: slice) -> tuple[Floats, Floats]:
        asked.append((len(some.example), row))
        if some is batch:
            assert (told if row else begun).wait(60)
            if row == 0:
                raise RuntimeError("no memory")
        return run(some, row, tokens)

    monkeypatch.setattr(backend, "_run", fail_first)
    fails, given_up = backend.begin(batch), backend.begin(other)  # neither waits
    given_up.cancel()
    begun.set()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no memory"):
            fails.result()
    told.set()
    backend(last)  # comes after all that was not given up
    assert asked[0] == (4, 0)
    assert asked[1:] in ([(1, 0)], [(4, 1), (1, 0)])  # one may begin before the failure is seen


def test_eight_bits_that_cost_too_much_are_not_written(
    reader: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with graph_at_hand(exported / "model.onnx"):
        done = export_model(reader, tmp_path / "out", int8=True, dev=EXAMPLES, max_f1_drop=100)
        assert done.f1 is not None
        assert all(0 <= value <= 100 for value in done.f1)
        before = content(done.folder)
        f1 = iter([59.49, 60.0, 59.5, 60.0])
        scored = SimpleNamespace(overall={"f1": 0.0})

        def evaluate(_reader: Reader, examples: list[Example]) -> SimpleNamespace:
            assert examples == EXAMPLES
            scored.overall["f1"] = next(f1)
            return scored

        monkeypatch.setattr(parity, "evaluate", evaluate)
        message = r"F1 is 59\.49 on 30 questions, in float32 60\.00: .* 0\.51, .* 0\.5 is"
        with pytest.raises(ParityError, match=message):
            export_model(reader, tmp_path / "out", int8=True, dev=EXAMPLES)
        f1 = iter([60.0, 60.0, 59.5, 60.0])
        with pytest.raises(ParityError, match="at most nan is let pass"):
            export_model(
                reader, tmp_path / "out", int8=True, dev=EXAMPLES, max_f1_drop=float("nan")
            )
        assert [file.name for file in tmp_path.iterdir()] == ["out"]
        assert content(done.folder) == before
        assert export_model(reader, tmp_path / "out", int8=True, dev=EXAMPLES).f1 == (59.5, 60.0)


def test_a_calibration_is_fitted_anew_on_the_eight_bits(
    reader: Path, exported: Path, tmp_path: Path
) -> None:
    source = shutil.copytree(reader, tmp_path / "source")
    stored = Calibration(temperature=1.5, threshold=0.999, fitted_on="dev.json")
    write_settings(source, replace(SETTINGS, calibration=stored))
    with graph_at_hand(exported / "model.onnx"):
        done = export_model(
            source, tmp_path / "out", int8=True, dev=EXAMPLES, dev_name="mine.json", max_f1_drop=100
        )
    found = Reader.from_pretrained(done.folder)
    assert found.settings.calibration == fit_calibration(
        EXAMPLES, found.predict(EXAMPLES), fitted_on="mine.json, in eight bits"
    )
    assert done.f1 is not None
    assert done.f1[0] == evaluate(found, EXAMPLES).overall["f1"]
    floats = Reader.from_pretrained(source)
    at_stored = evaluate(floats, EXAMPLES)
    refitted = fit_calibration(EXAMPLES, at_stored.predictions, fitted_on="dev.json")
    floats.settings = replace(floats.settings, calibration=refitted)
    assert done.f1[1] == evaluate(floats, EXAMPLES).overall["f1"] != at_stored.overall["f1"]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# -- refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "apart"), [(0.01, r"\d\.\de-0[123]"), (np.nan, "nan")])
def test_logits_that_are_apart_are_not_written(
    value: float, apart: str, reader: Path, exported: Path, tmp_path: Path
) -> None:
    model = onnx.load(exported / "model.onnx")
    (bias,) = (x for x in model.graph.initializer if x.name.endswith("qa_outputs.bias"))
    changed = numpy_helper.to_array(bias) + np.array([value, 0], np.float32)
    bias.CopyFrom(numpy_helper.from_array(changed, bias.name))
    onnx.save(model, tmp_path / "changed.onnx")
    message = rf"up to {apart} of .*\(1, 7\), \(3, 384\), \(5, 33\); at most 1e-04"
    with graph_at_hand(tmp_path / "changed.onnx"), pytest.raises(ParityError, match=message):
        export_model(reader, tmp_path / "out")
    assert [file.name for file in tmp_path.iterdir()] == ["changed.onnx"]


@pytest.mark.parametrize(("longest", "tokens"), [(None, 384), (80, 80)])
def test_logits_are_compared_on_lone_full_and_odd_windows(longest: int | None, tokens: int) -> None:
    seen: list[tuple[int, ...]] = []

    def read(batch: Batch) -> Logits:
        seen.append(batch.input_ids.shape)
        assert batch.input_ids.max() < 50
        logits = batch.input_ids.astype(np.float32)
        return Logits(start_logits=logits, end_logits=logits)

    def nearly(batch: Batch) -> Logits:
        wrong = read(batch).end_logits.copy()
        wrong[0, batch.input_ids.shape[1] - 1] += 0.49 * (len(batch.input_ids) == 5)
        return Logits(start_logits=read(batch).start_logits, end_logits=wrong)

    assert parity.compare_logits(read, read, vocabulary=50, longest=longest) == 0
    assert {*seen} == {(1, 7), (3, tokens), (5, 33)}
    apart = parity.compare_logits(nearly, read, vocabulary=50, longest=longest)
    assert apart == pytest.approx(0.01, rel=0.1)  # of the largest logit, which is near 49


def test_a_family_that_cannot_be_exported_is_named(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no translation of aten::unknown\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(CheckpointError, match=r"type 'bert' to ONNX: .*aten::unknown; use it"):
        export_model(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_the_cause_of_a_failed_export_is_told_without_its_colours(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("\x1b[96mstep 2/3\x1b[0m") from ValueError("\x1b[1mno such view\x1b[0m")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(CheckpointError, match="to ONNX: ValueError: no such view; use it with"):
        export_model(reader, tmp_path / "out")


def test_a_graph_that_does_not_run_is_no_export(
    reader: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = OnnxBackend(exported / "model.onnx")
    monkeypatch.setattr(parity, "SHAPES", ((1, 90),))  # it has positions for 80
    monkeypatch.setattr(exporting, "position_limit", lambda _: None)
    with graph_at_hand(exported / "model.onnx"):
        message = "models of type 'bert' cannot be exported: ONNX Runtime does not run what"
        with pytest.raises(CheckpointError, match=message):
            export_model(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    batch = parity._batch(np.random.default_rng(0), 1, 90, 50)
    with pytest.raises(CheckpointError, match=r"model\.onnx: .* a window of 90 tokens with it: "):
        backend(batch)


def test_a_parameter_that_is_lost_fails_the_export(
    reader: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_reader_model(reader, {"kind": "linear"})
    model.register_parameter("stray", torch.nn.Parameter(torch.full((3,), 9.0)))
    monkeypatch.setattr(exporting, "load_reader_model", lambda *_: model)
    with (
        graph_at_hand(exported / "model.onnx"),
        pytest.raises(CheckpointError, match="parameter 'stray' is nowhere"),
    ):
        export_model(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ["onnx", "onnxscript", "torch", "transformers"])
def test_what_is_missing_is_named_with_its_extra(missing: str) -> None:
    code = f"import sys\nsys.modules[{missing!r}] = None\nimport spanwise.exporting"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith(f"spanwise.errors.MissingExtra: {missing!r} is not installed")
    assert last.endswith("pip install 'spanwise[torch]'")


def test_dev_without_eight_bits_is_refused(reader: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dev says what eight bits cost"):
        export_model(reader, tmp_path / "out", dev=EXAMPLES)


def test_somebody_elses_folder_is_left_alone(reader: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not written by spanwise"):
        export_model(reader, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_only_an_export_is_replaced(reader: Path, exported: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(reader, tmp_path / "run"))
    with pytest.raises(ConfigError, match="run is the model's own folder; name another"):
        export_model(run, run)
    with pytest.raises(ConfigError, match=r"run holds model\.safetensors, which is no export's"):
        export_model(reader, run)
    assert sorted(f.name for f in run.iterdir()) == sorted(f.name for f in reader.iterdir())
    old = Path(shutil.copytree(exported, tmp_path / "old"))
    (old / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"old holds notes\.txt, which is no export's"):
        export_model(reader, old)
    (old / "notes.txt").unlink()
    (old / "model.onnx").write_bytes(b"")
    assert export_model(reader, old).size > 0

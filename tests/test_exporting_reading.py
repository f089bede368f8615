"""Exports are read without PyTorch, by what is installed, and trained further."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from spanwise.backends import OnnxBackend, TorchBackend
from spanwise.checkpoints import read_settings, write_settings
from spanwise.errors import CheckpointError, ConfigError
from spanwise.exporting import export_model
from spanwise.model import load_training_model, unexported
from spanwise.pipelines import pipeline
from spanwise.reader import Reader
from spanwise.training import FitConfig, TrainConfig, train
from tests.readers_zoo import EXAMPLES, PAIRS, SETTINGS, save_reader

# -- read back -----------------------------------------------------------------------------------


def test_weights_are_taken_back_out_of_an_export(
    reader: Path, exported: Path, eight_bits: Path
) -> None:
    source = load_file(reader / "model.safetensors")
    for folder, most in ((exported, 0.0), (eight_bits, 0.02)):
        settings = read_settings(folder)
        assert settings is not None
        with unexported(folder, settings.export["parameters"]) as whole:
            found = load_file(whole / "model.safetensors")
        assert not whole.exists()
        assert found.keys() == source.keys()
        for name, values in source.items():
            torch.testing.assert_close(found[name], values, atol=most, rtol=0)


def test_an_export_can_be_trained_on(reader: Path, eight_bits: Path, tmp_path: Path) -> None:
    from spanwise.corpus import write_examples

    write_examples(tmp_path / "train.json", EXAMPLES, form="squad")
    config = TrainConfig(
        model=str(eight_bits),
        train=(str(tmp_path / "train.json"),),
        out=str(tmp_path / "run"),
        window=SETTINGS.window,
        fit=FitConfig(epochs=1, learning_rate=1e-9),
    )
    trained = train(config)
    settings = read_settings(trained.folder)
    assert settings is not None
    assert settings.export == {}
    # At next to no learning rate the weights are those that it began with, head included.
    begun = load_file(reader / "model.safetensors")
    ended = load_file(Path(trained.folder) / "model.safetensors")
    for name, values in begun.items():
        torch.testing.assert_close(ended[name], values, atol=0.02, rtol=0)


def test_what_an_export_lacks_is_found_by_the_audit(eight_bits: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(eight_bits, tmp_path / "lacking")
    settings = read_settings(folder)
    assert settings is not None
    lost = next(name for name in settings.export["parameters"] if "attention.self.query" in name)
    del settings.export["parameters"][lost]
    write_settings(folder, settings)
    with (
        unexported(folder, settings.export["parameters"]) as whole,
        pytest.raises(CheckpointError, match=rf"(?s)1 of \d+ encoder tensors .*first: {lost!r}"),
    ):
        load_training_model(whole, settings.head)


def test_an_export_that_names_no_weights_cannot_be_trained_on(
    exported: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(CheckpointError, match="nothing says which of its tensors"),
        unexported(exported, {}),
    ):
        pass
    with (
        pytest.raises(CheckpointError, match=r"no tensor 'gone_quantized', which spanwise\.json"),
        unexported(exported, {"a": ["gone", False]}),
    ):
        pass


def test_a_checkpoint_is_given_as_it_is(reader: Path) -> None:
    with unexported(reader, {}) as whole:
        assert whole == reader


# -- which backend -------------------------------------------------------------------------------


def test_a_folder_with_both_is_read_by_torch_unless_asked(
    reader: Path, exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = save_reader(tmp_path / "both")
    (both / "model.onnx").write_bytes((exported / "model.onnx").read_bytes())
    assert isinstance(Reader.from_pretrained(both).backend, TorchBackend)
    assert isinstance(Reader.from_pretrained(both, backend="torch").backend, TorchBackend)
    assert isinstance(Reader.from_pretrained(both, backend="onnx").backend, OnnxBackend)
    monkeypatch.setattr("spanwise.reader.find_spec", lambda _: None)
    assert isinstance(Reader.from_pretrained(both).backend, OnnxBackend)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt'; it must be one of torch, onnx"),
        ({"dtype": "bfloat16"}, "dtype='bfloat16'.*runs on a processor as it was exported"),
        ({"device": "cuda"}, "device=.cuda.: an exp.*leave it out"),
        ({"packing": True}, "packing=True"),
    ],
)
def test_what_an_export_cannot_do_is_refused(
    exported: Path, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        Reader.from_pretrained(exported, **options)


def test_an_export_is_not_exported_again_nor_read_by_torch(exported: Path, tmp_path: Path) -> None:
    message = r"is an export, whose weights are in model\.onnx alone; name the model that it was"
    with pytest.raises(CheckpointError, match=message):
        Reader.from_pretrained(exported, backend="torch")
    with pytest.raises(CheckpointError, match=message):
        export_model(exported, tmp_path / "again")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_an_export_says_how_to_make_one(reader: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model\.onnx; write one with 'spanwise ex"):
        Reader.from_pretrained(reader, backend="onnx")


@pytest.mark.parametrize("name", ["exported", "eight_bits"])
def test_answering_needs_five_files_and_no_torch(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    source = request.getfixturevalue(name)
    for file in ("model.onnx", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / file, tmp_path)
    for file in ("config.json", "spanwise.json"):
        shutil.copy(source / file, tmp_path)
    code = f"""
import json, sys
for name in ("torch", "transformers", "onnx", "onnxscript", "accelerate"):
    sys.modules[name] = None
from spanwise import Reader, pipeline
reader = Reader.from_pretrained({str(tmp_path)!r})
found = [p.answers[0].score for p in reader.answer_many(json.loads(sys.stdin.read()))]
print(json.dumps([found, reader.answer("which ?", "the red lamp").null_score]))
print(pipeline(model={str(tmp_path)!r})("which ?", "the red lamp")["answer"], file=sys.stderr)
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        input=json.dumps(PAIRS),
        capture_output=True,
        text=True,
        check=True,
    )
    here = Reader.from_pretrained(source)
    expected = [prediction.answers[0].score for prediction in here.answer_many(PAIRS)]
    null = here.answer("which ?", "the red lamp").null_score
    assert json.loads(done.stdout) == [expected, null]
    assert done.stderr.strip() in "the red lamp"


def test_weights_without_torch_name_the_extra(reader: Path) -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\n"
        f"from spanwise import Reader\nReader.from_pretrained({str(reader)!r})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: 'torch' is not installed; this needs the extra 'torch'" in done.stderr


def test_windows_of_a_pipeline_are_cut_to_the_positions_of_an_export(
    reader: Path, exported: Path
) -> None:
    question, text = PAIRS[0]
    ask: dict[str, Any] = {"question": question, "context": " ".join([text] * 20)}
    for scoring in ("spanwise", "transformers4"):
        first, second = (pipeline(model=x, scoring=scoring) for x in (reader, exported))
        for length in (40, 80, 4000):
            one, other = first(**ask, max_seq_len=length), second(**ask, max_seq_len=length)
            assert one["score"] == pytest.approx(other["score"], abs=1e-4)
            assert (one["start"], one["end"]) == (other["start"], other["end"])
    assert first(**ask, max_seq_len=80) == first(**ask, max_seq_len=4000)

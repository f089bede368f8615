"""An exported reader answers as its source does, or is not written."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file
from transformers.utils import logging

from spanwise.backends import OnnxBackend
from spanwise.batching import Batcher
from spanwise.checkpoints import read_settings, write_settings
from spanwise.errors import CheckpointError, ConfigError, ParityError
from spanwise.exporting import export_model, graph, parity
from spanwise.model import load_reader_model, load_training_model, save_model, unexported
from spanwise.reader import Reader
from spanwise.schema import ReaderSettings, WindowSettings
from spanwise.training import FitConfig, TrainConfig, train
from spanwise.windows import PairTokenizer, make_windows
from tests.conftest import make_colours, make_tokenizer

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "max_position_embeddings": 80,
    "initializer_range": 0.3,  # so that the logits of random weights differ
}
BART = {
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "max_position_embeddings": 80,
    "init_std": 0.3,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
DISTILBERT = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "initializer_range": 0.3}
MODERNBERT = {
    "global_attn_every_n_layers": 2,
    "local_attention": 16,
    "bos_token_id": 2,
    "eos_token_id": 3,
    "cls_token_id": 2,
    "sep_token_id": 3,
}
DEBERTA = {
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 16,
    "share_att_key": True,
    "norm_rel_ebd": "layer_norm",
    "position_biased_input": False,
    "type_vocab_size": 0,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "bert": SIZES,
    "roberta": SIZES,
    "distilbert": DISTILBERT,
    "electra": SIZES | {"embedding_size": 16},
    "modernbert": SIZES | MODERNBERT,
    "deberta-v2": SIZES | DEBERTA,
    "albert": SIZES | {"embedding_size": 16},
    "mpnet": SIZES,
    "xlm-roberta": SIZES,
    "bart": BART,
}
SETTINGS = ReaderSettings(window=WindowSettings(max_length=24, stride=6, max_question_tokens=8))
EXAMPLES = make_colours(30, seed=5, unanswerable=0.3)
PAIRS = [
    (example.question, " ".join([example.context] * (1 + number % 4)))
    for number, example in enumerate(EXAMPLES)
]


def save_reader(folder: Path, family: str = "bert", **changes: Any) -> Path:
    """A reader with random weights."""
    logging.disable_progress_bar()
    tokenizer = make_tokenizer()
    sizes = FAMILIES[family] | {"vocab_size": tokenizer.get_vocab_size(), "pad_token_id": 0}
    config = transformers.AutoConfig.for_model(family, **(sizes | changes))
    torch.manual_seed(0)
    model = transformers.AutoModelForQuestionAnswering.from_config(config)
    for parameter in model.parameters():  # fresh biases are all 0, and fresh scales 1
        parameter.data += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder)
    PairTokenizer(tokenizer, {"cls_token": "[CLS]", "pad_token": "[PAD]"}).save(folder)
    write_settings(folder, SETTINGS)
    return folder


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def exported(reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(reader, tmp_path_factory.mktemp("float") / "out").folder


@pytest.fixture(scope="module")
def eight_bits(reader: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_model(reader, tmp_path_factory.mktemp("int8") / "out", int8=True).folder


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
    assert isinstance(Reader.from_pretrained(exported).backend, OnnxBackend)
    same_answers(reader, exported)


@pytest.mark.slow
@pytest.mark.parametrize("family", FAMILIES)
def test_families_answer_the_same_exported(family: str, tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader", family)
    done = export_model(folder, tmp_path / "out")
    assert done.apart < 1e-5
    same_answers(folder, done.folder)


@pytest.mark.slow
def test_a_context_that_comes_first_comes_first_exported(tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader")
    write_settings(folder, replace(SETTINGS, window=replace(SETTINGS.window, context_first=True)))
    export_model(folder, tmp_path / "out")
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
        for batch in Batcher(batch_tokens=size, pad_token_id=0).batches(windows):
            given = backend(batch)
            for row, example in enumerate(batch.example.tolist()):
                real = batch.attention_mask[row] == 1
                sides = (given.start_logits[row, real], given.end_logits[row, real])
                logits.setdefault(example, []).append(np.stack(sides).tobytes())
        found.append({example: sorted(values) for example, values in logits.items()})
    assert found[0] == found[1] == found[2]


def test_eight_bits_that_cost_too_much_are_not_written(reader: Path, tmp_path: Path) -> None:
    with pytest.raises(ParityError, match=r"in eight bits F1 is [\d.]+ on 30 questions.*most -200"):
        export_model(reader, tmp_path / "out", int8=True, dev=EXAMPLES, max_f1_drop=-200)
    assert list(tmp_path.iterdir()) == []
    done = export_model(reader, tmp_path / "out", int8=True, dev=EXAMPLES, max_f1_drop=100)
    assert done.f1 is not None
    assert all(0 <= value <= 100 for value in done.f1)


# -- refusals ------------------------------------------------------------------------------------


def test_logits_that_are_apart_are_not_written(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parity, "TOLERANCE", 0.0)
    with pytest.raises(ParityError, match=r"up to [\d.]+e-\d\d of the largest.*\(3, 384\).*0e\+00"):
        export_model(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_family_that_cannot_be_exported_is_named(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("no translation of aten::unknown\nand a long story")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(CheckpointError, match=r"type 'bert' to ONNX: .*aten::unknown; use it"):
        export_model(reader, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_parameter_that_is_lost_fails_the_export(reader: Path, exported: Path) -> None:
    model = load_reader_model(reader, {"kind": "linear"})
    model.register_parameter("stray", torch.nn.Parameter(torch.full((3,), 9.0)))
    with pytest.raises(CheckpointError, match="parameter 'stray' is nowhere"):
        graph.match_parameters(model, exported / "model.onnx")


def test_dev_without_eight_bits_is_refused(reader: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dev says what eight bits cost"):
        export_model(reader, tmp_path / "out", dev=EXAMPLES)


def test_somebody_elses_folder_is_left_alone(reader: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="not written by spanwise"):
        export_model(reader, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


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


def test_an_export_can_be_trained_on(eight_bits: Path, tmp_path: Path) -> None:
    from spanwise.corpus import write_examples

    write_examples(tmp_path / "train.json", EXAMPLES, form="squad")
    config = TrainConfig(
        model=str(eight_bits),
        train=(str(tmp_path / "train.json"),),
        out=str(tmp_path / "run"),
        window=SETTINGS.window,
        fit=FitConfig(epochs=1),
    )
    trained = train(config)
    assert (Path(trained.folder) / "model.safetensors").is_file()
    settings = read_settings(trained.folder)
    assert settings is not None
    assert settings.export == {}


def test_an_export_that_names_no_weights_cannot_be_trained_on(
    exported: Path, tmp_path: Path
) -> None:
    with (
        pytest.raises(CheckpointError, match="nothing says which of its tensors"),
        unexported(exported, {}),
    ):
        pass
    with (
        pytest.raises(CheckpointError, match=r"no tensor 'gone_zero_point', which spanwise\.json"),
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
    assert not isinstance(Reader.from_pretrained(both).backend, OnnxBackend)
    assert isinstance(Reader.from_pretrained(both, backend="onnx").backend, OnnxBackend)
    monkeypatch.setattr("spanwise.reader.find_spec", lambda _: None)
    assert isinstance(Reader.from_pretrained(both).backend, OnnxBackend)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backend": "tensorrt"}, "backend is 'tensorrt'; it must be one of torch, onnx"),
        ({"dtype": "bfloat16"}, "dtype='bfloat16'.*runs on a processor as it was exported"),
        ({"device": "cuda"}, "device='cuda'.*leave these out"),
        ({"packing": True}, "packing=True"),
    ],
)
def test_what_an_export_cannot_do_is_refused(
    exported: Path, options: dict[str, Any], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        Reader.from_pretrained(exported, **options)


def test_a_folder_without_an_export_says_how_to_make_one(reader: Path) -> None:
    with pytest.raises(CheckpointError, match=r"holds no model\.onnx; write one with 'spanwise ex"):
        Reader.from_pretrained(reader, backend="onnx")


@pytest.mark.parametrize("content", [b"", b"no graph at all", b"\x08\x07"])
def test_a_broken_graph_is_refused_by_name(content: bytes, exported: Path, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        OnnxBackend(file)
    whole = (exported / "model.onnx").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        OnnxBackend(file)


@pytest.mark.parametrize("missing", ["start_logits", "input_ids"])
def test_a_graph_of_something_else_is_refused(missing: str, exported: Path, tmp_path: Path) -> None:
    raw = (exported / "model.onnx").read_bytes()
    (tmp_path / "model.onnx").write_bytes(raw.replace(missing.encode(), b"x" * len(missing)))
    with pytest.raises(CheckpointError, match=r"it is no span reader|it has no span head"):
        OnnxBackend(tmp_path / "model.onnx")


def test_answering_needs_no_torch(exported: Path) -> None:
    code = (
        "import sys, json\n"
        "for name in ('torch', 'transformers', 'onnx'): sys.modules[name] = None\n"
        "from spanwise import Reader\n"
        f"reader = Reader.from_pretrained({str(exported)!r})\n"
        "print(json.dumps(reader.answer('which ?', 'the red lamp').null_score))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    expected = Reader.from_pretrained(exported).answer("which ?", "the red lamp").null_score
    assert json.loads(done.stdout) == expected

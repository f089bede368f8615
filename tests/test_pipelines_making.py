"""What the old `pipeline` took becomes a reader; what has no place is refused by name."""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast

from spanwise.backends import TorchBackend
from spanwise.errors import CheckpointError, ConfigError
from spanwise.pipelines import pipeline
from spanwise.reader import Reader
from tests.conftest import make_colours, make_tokenizer
from tests.test_pipelines import CONTEXT, QUESTION, TOKENIZER, fake, random_model


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"task": "summarization"}, "task is 'summarization'; spanwise has 'question-answering'"),
        ({"model": fake({}), "scoring": "best"}, "scoring is 'best'; it must be one of spanwise"),
        ({"model": torch.nn.Linear(1, 1)}, "tokenizer is missing"),
    ],
)
def test_what_cannot_be_made_is_named(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        pipeline(**arguments)


def test_a_model_that_is_nowhere_is_named() -> None:
    with pytest.raises(CheckpointError, match="'no such/place at all' is neither a folder here"):
        pipeline(model="no such/place at all")


def test_a_model_in_memory_is_taken_with_its_tokenizer(caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=make_tokenizer(), cls_token="[CLS]", pad_token="[PAD]"
    )
    made = pipeline("question-answering", random_model(), tokenizer=tokenizer, device=-1)
    assert made.reader.settings.window.max_length == 48
    assert "its probabilities are uncalibrated; model=FOLDER takes what its" in caplog.text
    found = made(question=QUESTION, context=CONTEXT, max_seq_len=4000)  # cut to the positions
    assert CONTEXT[found["start"] : found["end"]] == found["answer"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"task": "question-answering"},
        {"device": -1},
        {"device": "cpu", "batch_size": 4, "num_workers": 2},
        {"device": torch.device("cpu"), "dtype": torch.float32},
        {"torch_dtype": "auto", "framework": "pt", "use_fast": True},
        {"torch_dtype": torch.float32, "trust_remote_code": False, "model_kwargs": {}},
        {"config": None, "device_map": None, "revision": None, "token": None},
    ],
)
def test_arguments_of_the_old_pipeline_are_taken(arguments: dict[str, Any]) -> None:
    made = pipeline(model=random_model(), tokenizer=TOKENIZER, **({"device": "cpu"} | arguments))
    assert made.task == "question-answering"
    found = made(question=QUESTION, context=CONTEXT)
    expected = pipeline(model=random_model(), tokenizer=TOKENIZER, device="cpu")(QUESTION, CONTEXT)
    assert found == expected


def test_torch_dtype_is_another_name_of_dtype() -> None:
    made = pipeline(
        model=random_model(), tokenizer=TOKENIZER, device="cpu", torch_dtype=torch.float16
    )
    assert isinstance(made.reader.backend, TorchBackend)
    assert {p.dtype for p in made.reader.backend.model.parameters()} == {torch.float16}


def test_revision_and_token_reach_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def download(name: str, **options: Any) -> Path:
        assert options.pop("weights") == (name == "owner/name")
        asked.append({"name": name} | options)
        raise CheckpointError(f"{name!r} is not here")

    monkeypatch.setattr("spanwise.checkpoints._download", download)
    for tokenizer in (None, TOKENIZER):
        with pytest.raises(CheckpointError, match="'owner/name' is not here"):
            pipeline(model="owner/name", revision="v2", token="secret", tokenizer=tokenizer)
        assert asked.pop() == {"name": "owner/name", "revision": "v2", "token": "secret"}
    with pytest.raises(CheckpointError, match="'owner/words' is not here"):
        pipeline(model="owner/name", revision="v2", token="secret", tokenizer="owner/words")
    assert asked == [{"name": "owner/words", "revision": "v2", "token": "secret"}]


def test_arguments_that_a_reader_has_no_use_for_are_refused() -> None:
    reader = Reader.from_model(random_model(), TOKENIZER, device="cpu")
    assert pipeline(model=reader)(QUESTION, CONTEXT)["answer"]
    useless: dict[str, Any] = {"device": 0, "dtype": "float16", "revision": "v2", "token": "x"}
    for name, value in useless.items():
        with pytest.raises(ConfigError, match=f"{name} is {value!r}, but model is a Reader"):
            pipeline(model=reader, **{name: value})


def test_a_folder_takes_the_tokenizer_that_is_given(tmp_path: Path) -> None:
    random_model().save_pretrained(tmp_path / "model")  # without a tokenizer beside it
    (tmp_path / "words").mkdir()
    TOKENIZER.save(tmp_path / "words")
    expected = pipeline(model=random_model(), tokenizer=TOKENIZER, device="cpu")(QUESTION, CONTEXT)
    for tokenizer in (TOKENIZER, tmp_path / "words", str(tmp_path / "words")):
        made = pipeline(model=str(tmp_path / "model"), tokenizer=tokenizer, device="cpu")
        assert made(QUESTION, CONTEXT) == expected
    with pytest.raises(CheckpointError, match=r"holds no tokenizer|no tokenizer can be read"):
        pipeline(model=tmp_path / "model")


def test_results_do_not_depend_on_the_batch_size() -> None:
    tokenizer = TOKENIZER
    questions = [(e.question, " ".join([e.context] * 6)) for e in make_colours(8, seed=9)]
    found = []
    for batch_size in (None, 1, 5):
        made = pipeline(
            model=random_model(), tokenizer=tokenizer, device="cpu", batch_size=batch_size
        )
        asked, texts = zip(*questions, strict=True)
        found.append(made(question=list(asked), context=list(texts)))
    for other in found[1:]:
        assert [one["answer"] for one in other] == [one["answer"] for one in found[0]]
        assert [one["score"] for one in other] == pytest.approx(
            [one["score"] for one in found[0]], abs=1e-5
        )

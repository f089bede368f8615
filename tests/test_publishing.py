"""The folder that is published: what is in it, what is left out, and what is refused."""

import json
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from huggingface_hub import ModelCard
from huggingface_hub.errors import EntryNotFoundError
from transformers import AutoModelForQuestionAnswering, AutoTokenizer

from spanwise import CardOptions, Reader, TrainConfig
from spanwise.batching import collate
from spanwise.checkpoints import BUILTIN, fetch_folder, read_settings, write_settings
from spanwise.cli import main
from spanwise.corpus.scanning import distinct_names, file_name
from spanwise.errors import CheckpointError, ConfigError
from spanwise.model import load_reader_model, load_training_model, save_model
from spanwise.publishing import write_publication
from spanwise.publishing.licences import LICENCES, Licence, choose_licence
from spanwise.publishing.metadata import Model
from spanwise.publishing.provenance import (
    clean_provenance,
    clean_settings,
    hub_model,
)
from spanwise.schema import Calibration, ReaderSettings
from spanwise.toml import write_toml
from spanwise.windows import PairTokenizer, make_windows
from tests.readers_zoo import EXAMPLES, SETTINGS, save_reader

MIT = CardOptions(license="mit", language="en")
HEAD = {"kind": "mlp", "depth": 1, "width": 8, "dropout": 0.1}

RECIPE = asdict(
    TrainConfig(
        train=("/home/ada/squad/train.json", "hub:ada/questions:train"),
        dev=("data/dev.json",),
        out="/home/ada/runs/reader",
        model="/home/ada/encoder",
        columns={"question": "q"},
    )
)
PROVENANCE: dict[str, Any] = {
    "base_model": "/home/ada/encoder",
    "versions": {"torch": "2.0"},
    "train": {"/home/ada/squad/train.json": "aa", "hub:ada/questions:train": None},
    "dev": {"data/dev.json": "bb"},
    "mean_of": ["/home/ada/first", "second"],
    "recipe": RECIPE,
}


@pytest.fixture
def trained(reader: Path, tmp_path: Path) -> Path:
    """A copy of the tiny reader with the provenance of a run, and what else a run leaves."""
    folder = Path(shutil.copytree(reader, tmp_path / "trained"))
    write_settings(folder, replace(SETTINGS, provenance=PROVENANCE))
    (folder / "recipe.toml").write_text("train = ['/home/ada/squad/train.json']")
    (folder / "checkpoints").mkdir()
    return folder


def write(model: Path | str, out: Path, card: CardOptions = MIT) -> dict[str, int]:
    return write_publication(model, "ada/reader", out, card=card)


def test_the_files_of_a_model_and_a_card_are_written(trained: Path, tmp_path: Path) -> None:
    sizes = write(trained, tmp_path / "out")
    there = {file.name: file.stat().st_size for file in (tmp_path / "out").iterdir()}
    assert sizes == there
    assert set(sizes) == {
        "README.md", "config.json", "model.safetensors", "spanwise.json", "tokenizer.json",
        "tokenizer_config.json",
    }  # fmt: skip
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        assert (tmp_path / "out" / name).read_bytes() == (trained / name).read_bytes()


def test_no_path_is_left(trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    config = json.loads((trained / "config.json").read_text())
    told = config | {
        "_name_or_path": "runs/first/reader",
        "other": "/Users/ada/x",
        "kept": "ada/encoder",
    }
    (trained / "config.json").write_text(json.dumps(told))
    before = (trained / "spanwise.json").read_bytes()
    with caplog.at_level("INFO", logger="spanwise"):
        write(trained, tmp_path / "out")
    text = "".join(file.read_text(errors="replace") for file in (tmp_path / "out").iterdir())
    assert "/home" not in text
    assert "/Users" not in text
    settings = read_settings(tmp_path / "out")
    assert settings is not None
    assert settings.provenance["train"] == {"train.json": "aa", "hub:ada/questions:train": None}
    assert settings.provenance["mean_of"] == ["first", "second"]
    assert settings.provenance["recipe"]["out"] == "reader"
    assert replace(settings, provenance={}) == SETTINGS
    kept = json.loads((tmp_path / "out" / "config.json").read_text())
    assert kept == config | {"kept": "ada/encoder"}
    assert (trained / "spanwise.json").read_bytes() == before
    said = [record.message for record in caplog.records if "names alone" in record.message]
    assert len(said) == 1
    assert "data/dev.json → dev.json" in said[0]
    assert "config.json is published without _name_or_path, other" in caplog.text


def test_what_the_cleaning_does_not_know_is_refused(trained: Path, tmp_path: Path) -> None:
    config = json.loads((trained / "config.json").read_text())
    (trained / "config.json").write_text(json.dumps(config | {"deep": {"file": "/home/ada/x"}}))
    with pytest.raises(
        ConfigError, match=r"config\.json: line 1: a path of a machine: .*/home/ada"
    ):
        write(trained, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("/home/ada/train.json", "train.json"),
        ("C:\\data\\train.json", "train.json"),
        ("data/squad/", "squad"),
        ("hub:ada/questions/en:train@v1", "hub:ada/questions/en:train@v1"),
        ("hub:./folder:train", "folder:train"),
        ("hub:/home/ada/folder", "folder"),
        ("..", "a folder"),
    ],
)
def test_a_source_is_called_by_its_name(source: str, name: str) -> None:
    assert file_name(source) == name


def test_files_of_one_name_stay_apart() -> None:
    names = distinct_names(["a/dev.json", "b/dev.json", "c/x.json", "c/dev.json"])
    assert names == ["dev.json", "dev.json (2)", "x.json", "dev.json (3)"]
    clean = clean_provenance({"dev": {"a/dev.json": "1", "b/dev.json": "2"}})
    assert clean["dev"] == {"dev.json": "1", "dev.json (2)": "2"}


def test_only_an_id_of_the_hub_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert hub_model("microsoft/MiniLM-L12") == "microsoft/MiniLM-L12"
    assert hub_model("runs/first", out="runs/second") == ""
    assert hub_model("runs/first", out="elsewhere") == "runs/first"  # no way to tell
    assert hub_model("runs/first", out=".") == "runs/first"
    (tmp_path / "runs").mkdir()
    assert hub_model("runs/first", out="elsewhere") == ""
    (tmp_path / "sentence-transformers").mkdir()
    assert hub_model("sentence-transformers/all-MiniLM-L6-v2")
    for name in (BUILTIN, "/home/ada/x", "./x/y", "a/b/c", "encoder", "C:\\x\\y", ""):
        assert hub_model(name) == "", name


def test_a_base_that_training_saw_to_be_a_folder_is_no_id_of_the_hub(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = RECIPE | {"model": "teams/first", "out": "elsewhere"}
    given = PROVENANCE | {"base_model": "teams/first", "recipe": recipe}
    clean = clean_provenance(given | {"base_is_folder": True})
    assert (clean["base_model"], clean["recipe"]["model"]) == ("first", "first")
    assert (
        Model(
            repo="a/b", settings=ReaderSettings(provenance=clean), config={}, files=frozenset()
        ).base
        == ""
    )
    assert clean_provenance(given)["base_model"] == "teams/first"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teams").mkdir()  # where one stands says nothing of what training saw
    assert clean_provenance(given | {"base_is_folder": False})["base_model"] == "teams/first"
    assert clean_provenance(given)["base_model"] == "first"


def test_a_provenance_of_another_shape_is_named(reader: Path, tmp_path: Path) -> None:
    settings = read_settings(reader)
    assert settings is not None
    odd = {"train": 5, "minutes": "x", "recipe": "abc", "ancestors": 3}
    write_settings(
        reader_copy := shutil.copytree(reader, tmp_path / "odd"), replace(settings, provenance=odd)
    )
    with pytest.raises(
        ConfigError, match=r"provenance\.train is 5, which spanwise does not"
    ) as caught:
        write_publication(reader_copy, "ada/reader", tmp_path / "out", card=MIT)
    assert len(caught.value.problems) == 4
    assert not (tmp_path / "out").exists()


def test_folders_of_what_a_reader_was_made_of_are_no_ones_business() -> None:
    settings = ReaderSettings(
        calibration=Calibration(fitted_on="acme/secret/dev.json, hub:ada/questions"),
        provenance={"mean_of": ["runs/client/a", "b"]},
    )
    clean = clean_settings(settings)
    assert clean.calibration.fitted_on == "dev.json, hub:ada/questions"
    assert clean.provenance["mean_of"] == ["a", "b"]


def test_a_recipe_is_read_back(tmp_path: Path) -> None:
    recipe = clean_provenance(PROVENANCE)["recipe"]
    found = tomllib.loads(write_toml(recipe))

    def set_only(table: dict[str, Any]) -> dict[str, Any]:
        return {
            name: set_only(value) if isinstance(value, dict) else value
            for name, value in table.items()
            if value is not None
        }

    assert found == set_only(recipe)
    assert found["columns"] == {"question": "q"}
    assert found["train"] == ["train.json", "hub:ada/questions:train"]


def test_a_published_reader_answers_the_same(trained: Path, tmp_path: Path) -> None:
    write(trained, tmp_path / "out")
    ours, theirs = (
        Reader.from_pretrained(folder).predict(EXAMPLES) for folder in (trained, tmp_path / "out")
    )
    assert ours == theirs


@pytest.mark.parametrize("family", ["bert", "distilbert", "electra"])
def test_plain_transformers_gives_the_same_logits(family: str, tmp_path: Path) -> None:
    folder = save_reader(tmp_path / "reader", family)
    write(folder, tmp_path / "out")
    reader = Reader.from_pretrained(folder)
    model = load_reader_model(folder, reader.settings.head)
    plain = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "out").eval()
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    for example in EXAMPLES[:8]:
        windows = make_windows([example], reader.tokenizer, reader.settings.window)
        assert len(windows) == 1
        batch = collate(windows, [0], pad_token_id=reader.tokenizer.pad_token_id)
        inputs = tokenizer(example.question, example.context, return_tensors="pt")
        assert inputs["input_ids"].tolist() == batch.input_ids.tolist()
        with torch.no_grad():
            ours, theirs = model(**inputs), plain(**inputs)
        assert torch.equal(ours.start_logits, theirs.start_logits)
        assert torch.equal(ours.end_logits, theirs.end_logits)
        quick = reader.backend(batch)  # which adds the same numbers in another order
        np.testing.assert_allclose(quick.start_logits, theirs.start_logits, atol=1e-5)
        np.testing.assert_allclose(quick.end_logits, theirs.end_logits, atol=1e-5)


def test_a_checkpoint_of_the_hub_gets_the_settings_it_is_read_with(
    reader: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(reader, tmp_path / "foreign"))
    (folder / "spanwise.json").unlink()
    write(folder, tmp_path / "out")
    settings = read_settings(tmp_path / "out")
    assert settings is not None
    assert settings.window.max_length == 80  # the model's positions
    assert settings == replace(ReaderSettings(), window=settings.window)


def test_a_custom_head_is_published_whole(encoder: Path, tmp_path: Path) -> None:
    folder = make_mlp(encoder, tmp_path / "mlp")
    assert "head.safetensors" in write(folder, tmp_path / "out")
    ours, theirs = (
        Reader.from_pretrained(place).predict(EXAMPLES[:5]) for place in (folder, tmp_path / "out")
    )
    assert ours == theirs


def make_mlp(encoder: Path, folder: Path) -> Path:
    """A reader with spanwise's own head."""
    folder.mkdir()
    save_model(load_training_model(encoder, HEAD).eval(), folder)
    PairTokenizer.from_folder(encoder).save(folder)
    write_settings(folder, replace(SETTINGS, head=HEAD))
    return folder


def test_what_reads_no_spans_is_not_published(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="has no span head"):
        write(encoder, tmp_path / "out")


def test_a_folder_is_replaced_only_where_this_wrote_it(trained: Path, tmp_path: Path) -> None:
    write(trained, tmp_path / "out")
    write(BUILTIN, tmp_path / "out")
    assert not (tmp_path / "out" / "model.safetensors").exists()
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    with pytest.raises(ConfigError, match=r"run holds checkpoints, recipe\.toml, which is no"):
        write(trained, run)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(ConfigError, match=r"mine is not empty and holds no spanwise\.json"):
        write(trained, tmp_path / "mine")
    reader = Path(shutil.copytree(tmp_path / "out", tmp_path / "reader"))
    (reader / "README.md").unlink()
    with pytest.raises(ConfigError, match=r"reader holds config\.json, .*, which is no published"):
        write(trained, reader)
    with pytest.raises(ConfigError, match="out is the model's own folder"):
        write(tmp_path / "out", tmp_path / "out")


@pytest.mark.parametrize("repo", ["reader", "a/b/c", "ada/", "ada/re ader", "-/x", ""])
def test_a_repository_has_an_owner_and_a_name(repo: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"repository '{repo}' is none: .*OWNER/NAME"):
        write_publication(BUILTIN, repo, tmp_path / "out", card=MIT)


@pytest.mark.parametrize("language", ["English", "EN", "e", "de_DE"])
def test_a_language_is_a_code(language: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"language '{language}' is no code of ISO 639"):
        write(BUILTIN, tmp_path / "out", CardOptions(license="mit", language=language))


def test_without_a_licence_nothing_is_written(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no licence is stated, and nothing is published"):
        write(trained, tmp_path / "out", CardOptions())
    assert not (tmp_path / "out").exists()


FRONT_MATTER = "---\nlicense: cc-by-4.0\nlanguage: de\n---\n\n# Old card\n"


def test_the_old_card_states_licence_and_language(trained: Path, tmp_path: Path) -> None:
    (trained / "README.md").write_text(FRONT_MATTER)
    write(trained, tmp_path / "out", CardOptions())
    text = (tmp_path / "out" / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in text
    assert "\nlanguage: de\n" in text
    assert "Old card" not in text
    cases = {
        "[de]": "\nlanguage: de\n", "[de, en]": None, "no": "\nlanguage: 'no'\n",
        "[no]": "\nlanguage: 'no'\n", "English": None, "[1]": None,
    }  # fmt: skip
    for told, line in cases.items():
        (trained / "README.md").write_text(
            FRONT_MATTER.replace("language: de", f"language: {told}")
        )
        write(trained, tmp_path / "out", CardOptions())
        text = (tmp_path / "out" / "README.md").read_text()
        assert line in text if line else "\nlanguage:" not in text
    write(trained, tmp_path / "out", MIT)
    text = (tmp_path / "out" / "README.md").read_text()
    assert "\nlicense: mit\n" in text
    assert "\nlanguage: en\n" in text


def test_a_model_of_the_hub_brings_its_card(
    reader: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(name: str, file: str, **asked: object) -> str:
        assert (name, file) == ("bob/copied", "README.md")
        assert asked == {"revision": None, "token": None}
        if not old.exists():
            raise EntryNotFoundError("404")
        return str(old)

    old = tmp_path / "README.md"
    monkeypatch.setattr("spanwise.publishing.publishing.fetch_folder", lambda *_, **__: reader)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", download)
    with pytest.raises(ConfigError, match="no licence is stated"):
        write("bob/copied", tmp_path / "out", CardOptions())
    old.write_text(FRONT_MATTER)
    write("bob/copied", tmp_path / "out", CardOptions())
    text = (tmp_path / "out" / "README.md").read_text()
    assert "\nlicense: cc-by-4.0\n" in text
    assert "\nbase_model: bob/copied\n" in text


@pytest.mark.parametrize("text", ["# no front matter\n", "---\n---\n", "---\n- a list\n---\n"])
def test_an_old_card_may_state_nothing(text: str, trained: Path, tmp_path: Path) -> None:
    (trained / "README.md").write_text(text)
    with pytest.raises(ConfigError, match="no licence is stated"):
        write(trained, tmp_path / "out", CardOptions())


def test_an_old_card_that_is_broken_is_named(trained: Path, tmp_path: Path) -> None:
    (trained / "README.md").write_text("---\nlicense: [mit\n---\n")
    with pytest.raises(ConfigError, match=r"README\.md: its front matter is not YAML"):
        write(trained, tmp_path / "out", CardOptions())


Choose = Callable[..., Licence]


def test_a_licence_is_one_that_the_hub_knows() -> None:
    assert len(LICENCES) == 73
    assert not any(name.startswith("-") or name.endswith("-") for name in LICENCES)
    for name in ("mit", "cc-by-nc-2.0", "bsd-3-clause-clear", "cdla-permissive-2.0", "lppl-1.3c"):
        assert choose_licence(name, stated={}) == Licence(identifier=name)
    assert choose_licence("Apache-2.0", stated={}).identifier == "apache-2.0"
    with pytest.raises(ConfigError, match=r"license 'apache2' .* did you mean apache-2\.0.*other"):
        choose_licence("apache2", stated={})
    with pytest.raises(ConfigError, match="license 'zzzz' is none that the Hub knows; give it as"):
        choose_licence("zzzz", stated={})
    with pytest.raises(ConfigError, match="license 'unknown' is none"):
        choose_licence("unknown", stated={})
    with pytest.raises(ConfigError, match=r"states \['mit', 'cc0-1\.0'\], which is not one"):
        choose_licence(None, stated={"license": ["mit", "cc0-1.0"]})


def test_another_licence_has_a_name_and_a_link() -> None:
    link = "https://example.org/licence"
    other = Licence(identifier="other", name="house", link=link)
    assert choose_licence("other", name="house", link=link, stated={}) == other
    stated = {"license": "other", "license_name": "house", "license_link": link}
    assert choose_licence(None, stated=stated) == other
    for name, target in ((None, link), ("house", None), ("house", "LICENSE")):
        with pytest.raises(ConfigError, match="license 'other' has the name"):
            choose_licence("other", name=name, link=target, stated={})
    with pytest.raises(ConfigError, match=r"name 'house' and link None are given with .*'mit'"):
        choose_licence("mit", name="house", stated={})


def test_the_verb_writes_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    arguments = ["publish", BUILTIN, "ada/reader", "--license", "other", "--license-name", "house"]
    arguments += ["--license-link", "https://example.org/x", "--language", "en"]
    monkeypatch.setattr("sys.argv", ["spanwise", *arguments, "--dry-run", str(out)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    printed = capsys.readouterr()
    assert printed.out == f"written to {out}; nothing was uploaded\n"
    size = (out / "model.onnx").stat().st_size
    assert f"model.onnx  {size:,} bytes" in printed.err
    card = ModelCard.load(out / "README.md")
    assert card.data.to_dict()["license_name"] == "house"


def test_the_builtin_reader_is_published_as_it_is(tmp_path: Path) -> None:
    write(BUILTIN, tmp_path / "out")
    for file in fetch_folder(BUILTIN).iterdir():
        assert (tmp_path / "out" / file.name).read_bytes() == file.read_bytes(), file.name

"""A card says what is so, and nothing else."""

import re
import shutil
import tomllib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from huggingface_hub import ModelCard

from spanwise import CardOptions, Reader, evaluate
from spanwise.checkpoints import BUILTIN, hash_file, write_settings
from spanwise.corpus import write_examples
from spanwise.corpus.scanning import hash_source
from spanwise.metrics import LANGUAGES, guess_language
from spanwise.publishing import write_publication
from spanwise.publishing.cards import make_card
from spanwise.publishing.licences import Licence
from spanwise.publishing.metadata import WIDGETS, Model
from spanwise.publishing.results import (
    FITTED,
    LEARNT,
    Result,
    kept,
    measured,
    seen_data,
)
from spanwise.schema import Calibration, Example, Gold, ReaderSettings
from tests.conftest import make_colours
from tests.readers_zoo import SETTINGS

MIT = Licence(identifier="mit")
SCORES = {
    "exact": 41.26, "f1": 52.34, "total": 1234, "HasAns_exact": 30.0, "HasAns_f1": 45.0,
    "HasAns_total": 1000, "NoAns_exact": 61.0, "NoAns_f1": 61.0, "NoAns_total": 234,
    "best_exact": 44.4, "best_exact_thresh": 0.25, "best_f1": 55.5, "best_f1_thresh": 0.75,
    "answerable_exact": 50.0, "answerable_f1": 66.6, "answered": 77.7, "auroc": 0.8125,
}  # fmt: skip
INTERVALS = {"exact_low": 39.0, "exact_high": 43.0, "f1_low": 50.0, "f1_high": 54.0}
ECE = {"ece": 0.125, "ece_low": 0.01, "ece_high": 0.03}
FITTED_ON = Calibration(temperature=1.5, threshold=0.25, fitted_on="dev.json")
TRAINED = ReaderSettings(
    calibration=FITTED_ON,
    provenance={
        "base_model": "ada/encoder",
        "versions": {"torch": "2.0"},
        "train": {"train.json": "aa11", "hub:ada/questions/en:train": None},
        "dev": {"dev.json": "bb22"},
        "epoch": 2,
        "minutes": 3.5,
        "dev_scores": SCORES,
        "recipe": {"out": "reader", "fit": {"epochs": 2.0}},
    },
)
MLP = replace(TRAINED, head={"kind": "mlp", "depth": 1})
WEIGHTS, ONNX = frozenset({"model.safetensors"}), frozenset({"model.onnx"})


class Read(NamedTuple):
    """A card as huggingface_hub reads it; its data are typed more loosely than they are."""

    text: str
    data: Any


def read(content: str) -> Read:
    loaded = ModelCard(content)
    return Read(loaded.text, loaded.data)


def read_file(folder: Path) -> Read:
    loaded = ModelCard.load(folder / "README.md")
    return Read(loaded.text, loaded.data)


def make_model(
    settings: ReaderSettings = TRAINED, files: frozenset[str] = WEIGHTS, source: str = ""
) -> Model:
    config = {"architectures": ["BertForQuestionAnswering"]}
    return Model(repo="ada/reader", settings=settings, config=config, files=files, source=source)


def card(model: Model | None = None, results: Sequence[Result] = (), language: str = "en") -> Read:
    text = make_card(model or make_model(), results, licence=MIT, language=language)
    return read(text)


def result(**changes: Any) -> Result:
    known: dict[str, Any] = {"name": "test.json", "scores": SCORES, "threshold": 0.25}
    return Result(**(known | changes))


def test_the_front_matter_is_what_the_hub_reads() -> None:
    data = card(results=[result()]).data
    assert data.license == "mit"
    assert data.language == "en"
    assert data.pipeline_tag == "question-answering"
    assert data.library_name == "transformers"
    assert data.base_model == "ada/encoder"
    assert data.datasets == ["ada/questions"]
    assert data.tags == ["spanwise", "extractive-qa"]
    assert data.metrics == ["exact_match", "f1"]
    question, context = WIDGETS["en"]
    assert data.get("widget") == [{"text": question, "context": context}]


def test_results_come_back_from_the_model_index() -> None:
    results = [
        result(),
        result(name="hub:ada/questions/en:test@v2", scores=SCORES | {"exact": 1.0, "f1": 2.0}),
    ]
    found = card(results=results).data.eval_results
    assert found is not None
    assert [(one.dataset_type, one.metric_type, one.metric_value) for one in found] == [
        ("test.json", "exact_match", 41.26),
        ("test.json", "f1", 52.34),
        ("ada/questions", "exact_match", 1.0),
        ("ada/questions", "f1", 2.0),
    ]
    assert {one.task_type for one in found} == {"question-answering"}
    last = found[-1]
    assert (last.dataset_config, last.dataset_split, last.dataset_revision) == ("en", "test", "v2")
    content = make_card(make_model(), results, licence=MIT)
    assert ModelCard(str(ModelCard(content))).content == ModelCard(content).content


def test_a_card_without_results_claims_none() -> None:
    plain = card()
    assert plain.data.eval_results is None
    assert plain.data.metrics is None
    assert "Nothing was measured for this card." in plain.text
    assert "| EM |" not in plain.text


def test_the_table_has_every_number_with_its_threshold() -> None:
    text = card(results=[result(scores=SCORES | INTERVALS | ECE, language="de")]).text
    best = "EM 0.250, F1 0.750"
    for line in (
        "| `test.json` | questions | EM | F1 |",
        "| all, at the stored threshold 0.250 | 1,234 | 41.3 (39.0–43.0) | 52.3 (50.0–54.0) |",
        "| with an answer (HasAns) | 1,000 | 30.0 | 45.0 |",
        "| without one (NoAns) | 234 | 61.0 | 61.0 |",
        f"| all, at the oracle thresholds, the best for this data ({best}) | 1,234 | 44.4 | 55.5 |",
        "| HasAns, were it never to abstain | 1,000 | 50.0 | 66.6 |",
    ):
        assert line in text.splitlines(), line
    assert "95 % bootstrap intervals" in text
    assert "AUROC of answerability 0.812" in text
    assert "calibration error (ECE) 0.125" in text
    assert "0.010 to 0.030" in text
    assert "Texts compared as `de`." in text
    assert "not measured" not in text


def test_scores_without_intervals_claim_none() -> None:
    text = card(results=[result()]).text
    assert "bootstrap" not in text
    assert "| all, at the stored threshold 0.250 | 1,234 | 41.3 | 52.3 |" in text
    assert "How honest the probabilities are on other data was not measured." in text


def test_answerable_questions_alone_need_no_other_rows() -> None:
    few = {name: value for name, value in SCORES.items() if not name.startswith("NoAns")}
    few.pop("auroc")
    text = card(results=[result(scores=few)]).text
    assert "NoAns" not in text
    assert "AUROC" not in text


@pytest.mark.parametrize(
    ("settings", "files", "says", "says_not"),
    [
        (TRAINED, WEIGHTS, ["AutoModelForQuestionAnswering", "a linear span head"], ["ONNX"]),
        (MLP, WEIGHTS, ["loads the encoder alone", "`mlp` span head"], ["AutoModel"]),
        (
            replace(TRAINED, export={"precision": "float32"}),
            ONNX,
            ["ONNX in float32", "`pip install spanwise`", "no PyTorch weights"],
            ["AutoModel", "safetensors"],
        ),
        (
            replace(TRAINED, export={"precision": "int8"}),
            ONNX,
            ["ONNX in eight bits", "no PyTorch weights"],
            ["AutoModel", "safetensors"],
        ),
        (
            ReaderSettings(),
            WEIGHTS,
            ["uncalibrated", "How it was trained is not recorded", "the default, 0.5"],
            ["Fitted on", "toml", "Made with"],
        ),
    ],
    ids=["linear", "mlp", "float32", "int8", "foreign"],
)
def test_each_kind_of_model_is_told_as_it_is(
    settings: ReaderSettings, files: frozenset[str], says: list[str], says_not: list[str]
) -> None:
    found = card(make_model(settings, files))
    for text in says:
        assert text in found.text, text
    for text in says_not:
        assert text not in found.text, text
    assert found.data.library_name == (
        "transformers" if says_not[0] == "ONNX" or settings == ReaderSettings() else "spanwise"
    )
    assert ("onnx" in (found.data.tags or [])) == (files == ONNX)


def test_a_reader_that_always_answers_is_said_to() -> None:
    settings = replace(TRAINED, decode=replace(TRAINED.decode, use_null=False))
    text = card(make_model(settings)).text
    assert "always answers" in text
    assert "it answers even where no answer is" in text
    assert "bias of null" not in text


def test_the_training_is_told_with_its_hashes() -> None:
    text = card().text
    assert "made from `ada/encoder`" in text
    assert (
        "learnt from `train.json` (sha256 `aa11`); `hub:ada/questions/en:train` (no hash was kept)"
        in text
    )
    assert "epoch chosen on `dev.json` (sha256 `bb22`)" in text
    assert '```toml\nout = "reader"\n\n[fit]\nepochs = 2.0\n```' in text
    assert "Made with `torch 2.0`." in text


def test_a_base_model_is_stated_only_where_the_hub_has_it() -> None:
    def base(name: str, source: str = "") -> object:
        settings = replace(TRAINED, provenance={**TRAINED.provenance, "base_model": name})
        return card(make_model(settings, source=source)).data.base_model

    assert base("encoder") is None
    assert base(BUILTIN) is None
    assert base("encoder", source="ada/copied") == "ada/copied"
    assert base("ada/encoder", source="ada/copied") == "ada/encoder"
    assert card(make_model(ReaderSettings(), source="ada/copied")).data.base_model == "ada/copied"


def test_a_name_does_not_break_the_table() -> None:
    text = card(results=[result(name="a|b`c`\n<d>.json")]).text
    assert "| `a/b'c' <d>.json` | questions | EM | F1 |" in text.splitlines()


def test_the_widget_speaks_the_language() -> None:
    for language in {name.removesuffix("-cmrc") for name in LANGUAGES}:
        question, context = WIDGETS[language]
        examples = [Example(id="a", question=question, context=context)]
        assert guess_language(examples) == language
        assert card(language=language).data.get("widget")[0]["text"] == question
        assert f'question = "{question}"' in card(language=language).text
    assert card(language="fr").data.get("widget")[0]["text"] == WIDGETS["en"][0]
    assert card(language="").data.language is None


def test_scores_of_the_training_are_marked_and_kept_while_they_hold() -> None:
    for dev in ("runs/a/dev.json", "dev.json"):  # before and after it is published
        (found,) = kept(replace(TRAINED, provenance={**TRAINED.provenance, "dev": {dev: "bb22"}}))
        assert found.sha256 == "bb22"
    (found,) = kept(TRAINED)
    assert (found.name, found.seen, found.sha256) == ("dev.json", FITTED, "bb22")
    text = card(results=[found]).text
    assert "| `dev.json`, where the threshold was fitted | questions | EM | F1 |" in text
    assert "expect lower scores on others" in text
    names = {one.dataset_name for one in card(results=[found]).data.eval_results or ()}
    assert names == {"dev.json (the threshold was fitted here)"}
    exported = replace(TRAINED, export={"precision": "float32"})
    assert "Measured before the export" in card(results=kept(exported)).text
    other = replace(TRAINED, calibration=replace(FITTED_ON, fitted_on="other.json"))
    moved = {**TRAINED.provenance, "dev_scores": SCORES | {"threshold": 0.5}}
    for settings in (
        ReaderSettings(),
        replace(TRAINED, export={"precision": "int8"}),
        other,
        replace(TRAINED, provenance=moved),
    ):
        assert kept(settings) == []


def make_settings(train: Path, dev: Path) -> ReaderSettings:
    hashes = {
        "train": {"train.json": hash_source(str(train))},
        "dev": {"dev.json": hash_source(str(dev))},
    }
    return replace(SETTINGS, calibration=FITTED_ON, provenance=hashes)


def test_data_that_the_reader_has_seen_is_marked(reader: Path, tmp_path: Path) -> None:
    paths = {name: tmp_path / name for name in ("train.json", "dev.json", "test.json")}
    (tmp_path / "b").mkdir()
    for seed, path in enumerate([*paths.values(), tmp_path / "b" / "dev.json"]):
        write_examples(path, make_colours(5, seed=seed), form="squad")
    shutil.copy(paths["train.json"], tmp_path / "renamed.json")
    settings = make_settings(paths["train.json"], paths["dev.json"])
    examples = make_colours(5, seed=3)
    report = evaluate(Reader.from_pretrained(reader), examples)
    sources = [*paths.values(), tmp_path / "renamed.json", tmp_path / "b" / "dev.json"]
    found = measured({str(source): report for source in sources}, settings)
    assert [(one.name, one.seen) for one in found] == [
        ("train.json", LEARNT), ("dev.json", FITTED), ("test.json", ""),
        ("renamed.json", LEARNT), ("dev.json (2)", ""),
    ]  # fmt: skip
    text = card(make_model(settings), found).text
    assert "The reader learnt from these questions" in text
    indexed = card(make_model(settings), found).data.eval_results
    assert {one.dataset_type for one in indexed} == {"dev.json", "test.json", "dev.json (2)"}
    named = replace(settings, provenance={"dev": ["dev"]})
    dev = str(paths["dev.json"])
    told = [  # as training writes it, before a publication takes the paths away
        ("train", {f"{tmp_path}/b": None}, f"{tmp_path}/b/", LEARNT),
        ("dev", {"a/dev.json": "aa11"}, dev, ""),
        ("dev", {"a/dev.json": hash_source(dev)}, dev, FITTED),
        ("train", {"hub:ada/data:train": None}, "hub:ada/data:train", LEARNT),
    ]
    for name, then, source, how in told:
        assert seen_data([source], replace(settings, provenance={name: then})) == [how]
    (one,) = measured({str(paths["dev.json"]): report}, named)
    assert one.seen == FITTED  # by the name that the calibration has
    assert one.scores == report.overall
    assert one.sha256 == hash_source(str(paths["dev.json"]))


def test_what_stands_in_a_models_files_is_no_markdown() -> None:
    evil = "`\n\n# Injected\n"
    recipe = {"model": "m", "train": ["a\u2028b\u0085c.json"], "fit": {"seed": 0}}
    provenance = {**TRAINED.provenance, "train": {"t.json": evil}, "recipe": recipe}
    model = make_model(replace(TRAINED, provenance=provenance))
    model = replace(model, config={"architectures": [evil]})
    text = card(model).text
    assert not [line for line in text.splitlines() if line.startswith("# Injected")]
    (block,) = re.findall(r"^```toml\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    assert tomllib.loads(block) == recipe


def test_what_a_model_learnt_from_before_it_was_trained_on_counts(
    reader: Path, tmp_path: Path
) -> None:
    for seed, name in enumerate(("first.json", "second.json")):
        write_examples(tmp_path / name, make_colours(5, seed=seed), form="squad")
    life = {
        "base_model": "ada/encoder",
        "train": {"train.json": hash_source(str(tmp_path / "first.json"))},
    }
    provenance = {
        "base_model": "teams/a", "base_is_folder": True, "ancestors": [life],
        "train": {"train.json": hash_source(str(tmp_path / "second.json"))},
    }  # fmt: skip
    settings = replace(SETTINGS, provenance=provenance)
    report = evaluate(Reader.from_pretrained(reader), make_colours(5, seed=3))
    sources = {str(tmp_path / name): report for name in ("first.json", "second.json")}
    assert [one.seen for one in measured(sources, settings)] == [LEARNT, LEARNT]
    shown = card(make_model(settings))
    assert shown.data.base_model == "ada/encoder"
    assert "- before that made from `ada/encoder`, learnt from `train.json` (sha256" in shown.text


def test_the_numbers_are_those_of_an_evaluation(reader: Path, tmp_path: Path) -> None:
    examples = make_colours(30, seed=7, unanswerable=0.3)
    write_examples(tmp_path / "test.json", examples, form="squad")
    options = CardOptions(license="mit", data={str(tmp_path / "test.json"): examples})
    steps: list[tuple[int, int]] = []
    write_publication(
        reader,
        "ada/reader",
        tmp_path / "out",
        card=options,
        progress=lambda done, total: steps.append((done, total)),
    )
    loaded = read_file(tmp_path / "out")
    scores = evaluate(Reader.from_pretrained(reader), examples).overall
    values = {one.metric_type: one.metric_value for one in loaded.data.eval_results or ()}
    assert values == {"exact_match": round(scores["exact"], 2), "f1": round(scores["f1"], 2)}
    row = f"{scores['f1']:.1f} ({scores['f1_low']:.1f}–{scores['f1_high']:.1f})"
    assert row in loaded.text
    assert hash_file(tmp_path / "test.json") in loaded.text
    assert loaded.data.language is None  # English is also what a guess falls back to
    assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize(
    ("asked", "stated", "rules"),
    [("fr", "fr", "en"), ("zh-cmrc", "zh", "zh-cmrc"), (None, "de", "de")],
)
def test_the_language_decides_the_rules(
    asked: str | None, stated: str, rules: str, reader: Path, tmp_path: Path
) -> None:
    question, context = WIDGETS["de"]
    gold = Gold(text="Ada Grün", start=context.index("Ada"), end=context.index("Ada") + 8)
    examples = [Example(id="a", question=question, context=context, answers=(gold,))]
    options = CardOptions(license="mit", language=asked, data={"test.json": examples})
    write_publication(reader, "ada/reader", tmp_path / "out", card=options)
    loaded = read_file(tmp_path / "out")
    assert loaded.data.language == stated
    assert f"Texts compared as `{rules}`." in loaded.text


def test_the_code_of_a_card_runs(
    reader: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(reader, tmp_path / "reader"))
    write_settings(folder, replace(SETTINGS, window=replace(SETTINGS.window, max_length=64)))
    options = CardOptions(license="mit", language="en")
    write_publication(folder, "ada/reader", tmp_path / "out", card=options)
    text = (tmp_path / "out" / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    code = "\n".join(blocks).replace("ada/reader", str(tmp_path / "out"))
    exec(code, {})  # noqa: S102
    quoted, _ = capsys.readouterr().out.splitlines()  # of random weights, which know nothing
    assert re.fullmatch(r".+ \d+ \d+ 0\.\d+", quoted)

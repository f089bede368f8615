"""The command line: what it prints where, and its exit status."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from spanwise.checkpoints import OFFLINE_ENCODER, hash_file, read_settings, write_settings
from spanwise.cli import demo, main
from spanwise.cli.reading import show_prediction
from spanwise.cli.terminal import highlight
from spanwise.corpus import read_examples, write_examples
from spanwise.schema import Answer, Example, Gold, Prediction, ReaderSettings, WindowSettings
from tests.conftest import make_colours


@dataclass(frozen=True)
class Done:
    """What a command left."""

    status: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `spanwise` in this process."""

    def call(*arguments: object, stdin: bytes = b"") -> Done:
        monkeypatch.setattr(sys, "argv", ["spanwise", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
        status = 0
        try:
            main()
        except SystemExit as stop:
            status = int(stop.code or 0)
        captured = capsys.readouterr()
        return Done(status, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, encoder: Path) -> Path:
    """A reader's folder; its head is random, and the same in any order of tests."""
    import torch

    from spanwise.model import load_training_model, save_model
    from spanwise.windows import PairTokenizer

    folder = tmp_path_factory.mktemp("reader")
    torch.manual_seed(0)
    save_model(load_training_model(encoder, {"kind": "linear"}), folder)
    PairTokenizer.from_folder(encoder).save(folder)
    window = WindowSettings(max_length=32, stride=8, max_question_tokens=8)
    write_settings(folder, ReaderSettings(window=window))
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small labelled file."""
    file = tmp_path / "data.json"
    write_examples(file, make_colours(8, seed=1, unanswerable=0.3), form="squad")
    return file


VERBS = [
    "audit", "train", "evaluate", "score", "compare", "calibrate", "answer", "bulk", "export",
    "serve", "demo",
]  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_every_verb_ends_with_two_runnable_examples(run: Run, verb: str) -> None:
    done = run(verb, "--help")
    assert done.status == 0
    examples = done.out.partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 2
    assert all(f"spanwise {verb}" in line for line in examples)


def test_help_names_every_verb(run: Run) -> None:
    done = run("--help")
    assert all(f"  {verb} " in done.out for verb in VERBS)


def test_bad_usage_is_status_2(run: Run, data: Path) -> None:
    assert run("audit").status == 2
    assert run("frobnicate").status == 2
    done = run("train", "--epochs", "3")
    assert done.status == 2
    assert "--section.key VALUE" in done.err


def test_an_error_is_one_message_and_status_1(run: Run, tmp_path: Path) -> None:
    done = run("evaluate", tmp_path / "nowhere", tmp_path / "none.json")
    assert done.status == 1
    assert done.out == ""
    assert done.err.startswith("error:")
    assert "none.json" in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback(run: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.json"):
        run("--debug", "evaluate", tmp_path / "nowhere", tmp_path / "none.json")


def test_brackets_in_a_message_survive(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "bad.json"
    file.write_text('{"version": "v2.0", "data": [{"paragraphs": [{"context": "x"}]}]}')
    assert "data[0].paragraphs[0]" in run("evaluate", tmp_path, file).err.replace("\n", "")


def test_audit_counts_and_shows(run: Run, data: Path, encoder: Path) -> None:
    done = run("audit", data, "--model", encoder, "--show", 2, "--strict")
    assert done.status == 0
    for part in (
        "questions",
        "unanswerable",
        "windows",
        "oracle",
        "100.00 / 100.00",
        "no findings",
    ):
        assert part in done.out
    assert done.out.count("which ?") == 2


def test_audit_json_is_one_object(run: Run, data: Path, encoder: Path) -> None:
    found = json.loads(run("audit", data, "--model", encoder, "--json").out)
    assert found["counts"]["questions"] == 8
    assert found["oracle"]["f1"] == 100.0
    assert found["findings"] == []


def test_audit_strict_is_status_1_and_fix_mends(run: Run, tmp_path: Path) -> None:
    file, fixed = tmp_path / "moved.json", tmp_path / "fixed.json"
    moved = Example(
        id="m1",
        question="which ?",
        context="the red lamp",
        answers=(Gold(text="red", start=5, end=8),),
    )
    write_examples(file, [moved], form="squad")
    done = run("audit", file, "--fix", fixed, "--strict")
    assert done.status == 1
    assert "'red' is not at context[5:8]" in done.out
    assert "m1" in done.err
    assert run("audit", fixed, "--strict").status == 0
    assert read_examples(fixed)[0].answers == (Gold(text="red", start=4, end=7),)


def test_a_repair_says_what_it_leaves_out_and_writes_what_its_name_says(
    run: Run, tmp_path: Path
) -> None:
    file, fixed = tmp_path / "data.jsonl", tmp_path / "fixed.jsonl"
    row = {"id": "a", "question": "which?", "context": "the red lamp", "answers": []}
    rows = [row, row | {"question": "and which?"}, row | {"id": "b", "question": ""}]
    file.write_text("\n".join(map(json.dumps, rows)))
    done = run("audit", file, "--fix", fixed)
    assert "0 changes; 1 questions in" in done.err
    assert "what could not be read is not in it: 2 problems" in done.err
    assert "let the name end in .json or .jsonl" in run("audit", file, "--fix", "fixed.csv").err
    assert not Path("fixed.csv").exists()


def test_two_files_with_an_id_of_both_are_not_repaired_into_one(run: Run, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        write_examples(file, make_colours(2, seed=3), form="squad")
    done = run("audit", *files, "--fix", tmp_path / "both.json")
    assert done.status == 1
    assert "2 ids stand in several of the files, '3-0' first" in done.err
    assert not (tmp_path / "both.json").exists()


def test_data_is_not_written_over(run: Run, tmp_path: Path, data: Path, reader: Path) -> None:
    copied = Path(shutil.copy(data, tmp_path / "copy.json"))
    for command in (
        ("audit", copied, "--fix", copied),
        ("audit", copied, "--html", copied),
        ("evaluate", reader, copied, "--predictions", copied),
        ("evaluate", reader, copied, "--html", copied),
        ("evaluate", reader, tmp_path, "--predictions", copied),
        ("audit", tmp_path, "--fix", copied),
    ):
        done = run(*command)
        assert done.status == 1
        assert f"{command[-2]} '{copied}': is read as data and would be lost" in done.err
    assert copied.read_bytes() == data.read_bytes()


def test_audit_of_nothing_readable_is_status_1(run: Run, tmp_path: Path) -> None:
    fixed = tmp_path / "fixed.json"
    done = run("audit", tmp_path / "none.json", tmp_path / ":x:", "--fix", fixed)
    assert done.status == 1
    assert done.out == ""
    assert "none.json: does not exist" in done.err
    assert "/:x:: does not exist" in done.err  # rich would make an emoji of it
    assert not fixed.exists()


def test_audit_refuses_options_that_make_no_sense(run: Run, data: Path) -> None:
    assert run("audit", data, "--show", -1).status == 2
    assert "--show is for people" in run("audit", data, "--show", 1, "--json").err
    assert "model is ''" in run("audit", data, "--model", "").err
    assert "name each column once" in run("audit", data, "--columns", "id=a,id=b").err


def test_score_prints_the_official_keys(run: Run, tmp_path: Path, data: Path) -> None:
    predictions = tmp_path / "predictions.json"
    golds = {e.id: e.answers[0].text if e.answers else "" for e in read_examples(data)}
    predictions.write_text(json.dumps(golds))
    done = run("score", data, predictions, "--json")
    scores = json.loads(done.out)
    assert done.status == 0
    assert list(scores)[:3] == ["exact", "f1", "total"]
    assert (scores["exact"], scores["f1"], scores["total"]) == (100.0, 100.0, 8)
    table = run("score", data, predictions).out
    assert "all, as they were given" in table
    assert "100.00" in table


def test_score_reports_missing_predictions_and_refuses_unknown_ids(
    run: Run, tmp_path: Path, data: Path
) -> None:
    predictions = tmp_path / "predictions.json"
    golds = {e.id: e.answers[0].text if e.answers else "" for e in read_examples(data)}
    first = next(iter(golds))
    predictions.write_text(json.dumps({key: golds[key] for key in golds if key != first}))
    done = run("score", data, predictions, "--json")
    assert json.loads(done.out)["exact"] == 87.5
    assert f"1 questions have no prediction and count as wrong, {first} first" in done.err
    assert "script would say: exact 100" in done.err
    predictions.write_text(json.dumps(golds | {"stranger": "x"}))
    done = run("score", data, predictions)
    assert done.status == 1
    assert "stranger" in done.err


def test_score_with_probabilities_adds_the_best_thresholds(
    run: Run, tmp_path: Path, data: Path
) -> None:
    examples = read_examples(data)
    predictions, nulls = tmp_path / "p.json", tmp_path / "n.json"
    predictions.write_text(json.dumps({e.id: "red" for e in examples}))
    nulls.write_text(json.dumps({e.id: 0.1 if e.answers else 0.9 for e in examples}))
    done = run("score", data, predictions, "--no-answer-probabilities", nulls, "--json")
    scores = json.loads(done.out)
    assert {"best_exact", "best_exact_thresh", "best_f1", "best_f1_thresh"} <= set(scores)
    assert scores["best_f1_thresh"] == 0.1
    done = run("score", data, predictions, "--no-answer-probabilities", nulls, "--threshold", 0.5)
    assert "all, at threshold 0.5" in done.out
    assert run("score", data, predictions, "--rules", "3").status == 2


def test_score_compares_as_the_language_does_and_says_which(run: Run, tmp_path: Path) -> None:
    file, predictions = tmp_path / "data.jsonl", tmp_path / "p.json"
    context = "Der Turm steht auf dem Berg, und das Tor ist nicht weit."
    gold = Gold(text="dem Berg", start=19, end=27)
    example = Example(id="x", question="Wo ist der Turm?", context=context, answers=(gold,))
    write_examples(file, [example], form="jsonl")
    predictions.write_text('{"x": "der Berg"}')
    done = run("score", file, predictions, "--json")
    assert (json.loads(done.out)["exact"], json.loads(done.out)["language"]) == (100, "de")
    assert "language: de (guessed from the data; --language sets it)" in " ".join(done.err.split())
    done = run("score", file, predictions, "--language", "en", "--json")
    assert (json.loads(done.out)["exact"], json.loads(done.out)["language"]) == (0, "en")
    assert "guessed" not in done.err
    assert "texts compared as de" in run("score", file, predictions).out
    done = run("score", file, predictions, "--language", "fr")
    assert done.status == 2
    assert "'fr': there are en, de, es" in " ".join(done.err.split())


def test_evaluate_reads_on_past_a_faulty_question(run: Run, tmp_path: Path, reader: Path) -> None:
    file = tmp_path / "moved.json"
    good = make_colours(3, seed=2)
    moved = Example(
        id="m1",
        question="which ?",
        context="the red lamp",
        answers=(Gold(text="red", start=5, end=8),),
    )
    write_examples(file, [*good, moved], form="squad")
    done = run("evaluate", reader, file, "--json")
    assert done.status == 0
    assert json.loads(done.out)["total"] == 4
    assert "m1" in done.err


def test_evaluate_writes_predictions_that_score_the_same(
    run: Run, tmp_path: Path, data: Path, reader: Path
) -> None:
    predictions = tmp_path / "predictions.json"
    scores = json.loads(run("evaluate", reader, data, "--predictions", predictions, "--json").out)
    again = json.loads(run("score", data, predictions, "--json").out)
    assert (scores["exact"], scores["f1"]) == (again["exact"], again["f1"])
    assert "threshold" in scores
    assert "at the stored threshold" in run("evaluate", reader, data).out


def test_answer_prints_the_prediction_as_json(run: Run, tmp_path: Path, reader: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_bytes(b"\xef\xbb\xbf" + b"the red lamp\r\nwas old")
    done = run("answer", reader, "-q", "which ?", "-c", text, "--json", "--top-k", 3)
    prediction = json.loads(done.out)
    assert done.status == 0
    assert len(prediction["answers"]) == 3
    for answer in prediction["answers"]:
        assert "the red lamp\r\nwas old"[answer["start"] : answer["end"]] == answer["text"]
        assert 0 <= answer["probability"] <= 1
    assert prediction["best"] is None or prediction["best"] == prediction["answers"][0]
    assert 0 <= prediction["null_probability"] <= 1
    refused = prediction["null_probability"] > prediction["threshold"]
    assert refused == (prediction["best"] is None)


def test_answer_takes_another_threshold(run: Run, tmp_path: Path, reader: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("the red lamp was old")
    bold = run("answer", reader, "-q", "which ?", "-c", text, "--threshold", 1)
    assert (bold.status, "not in this text" in bold.out) == (0, False)
    shy = run("answer", reader, "-q", "which ?", "-c", text, "--threshold", 0)
    assert "above the threshold 0.000" in shy.out
    assert "a higher --threshold answers more often" in shy.err
    told = json.loads(
        run("answer", reader, "-q", "which ?", "-c", text, "--threshold", 1, "--json").out
    )
    assert told["threshold"] == 1
    assert told["best"] == told["answers"][0]
    assert run("answer", reader, "-q", "which ?", "-c", text, "--threshold", 1.5).status == 2


def test_answer_reads_stdin_and_several_texts(run: Run, tmp_path: Path, reader: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text("the blue valve")
    done = run("answer", reader, "-q", "which ?", "-c", "-", "-c", other, stdin=b"a [red] lamp")
    assert done.status == 0
    assert "characters" in done.out
    assert "probability" in done.out
    assert "uncalibrated" in done.out


def test_a_quote_is_printed_to_the_letter(capsys: pytest.CaptureFixture[str]) -> None:
    context = "The identity \\[a = 1\\] holds in [/] C:\\temp\\ said Ada."
    for quote in ("\\[a = 1\\] holds", "[/] C:\\temp\\"):
        start = context.index(quote)
        best = Answer(
            text=quote, start=start, end=start + len(quote), context=0, score=1.0, probability=0.9
        )
        prediction = Prediction(
            id="0",
            answers=(best,),
            null_score=0.0,
            null_probability=0.1,
            best=best,
            calibrated=True,
        )
        show_prediction(prediction, [("[a]", context)] * 2, threshold=0.5)
        shown = capsys.readouterr().out
        assert shown.startswith(f"{quote}  characters {start}–{best.end}  [a]  probability 0.90")
        assert context in shown


def test_marks_stand_right_behind_control_characters() -> None:
    context = "a\r\nb\x1b[31m\r\nred lamp"
    start = context.index("red")
    shown = highlight(context, (start, start + 3))
    assert [shown.plain[span.start : span.end] for span in shown.spans] == ["red"]
    assert "\x1b" not in shown.plain  # a terminal would obey it


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_output_suits_the_encoding_of_stdout(
    run: Run, tmp_path: Path, reader: Path, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    text = tmp_path / "text.txt"
    text.write_text("\N{GRINNING FACE} :x:", encoding="utf-8")
    for options in (["--json"], []):
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
        done = run("answer", reader, "-q", "which ?", "-c", text, "--top-k", 20, *options)
        sys.stdout.flush()
        assert done.status == 0, done.err
        if options:
            quotes = {answer["text"] for answer in json.loads(raw.getvalue())["answers"]}
            assert "\N{GRINNING FACE} :x:" in quotes


def test_answer_takes_one_question_and_texts_by_their_flag(run: Run, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("The mill was built by Ada Green.")
    done = run("answer", "-q", "who?", "-q", "what?", "-c", text)
    assert (done.status, done.out) == (1, "")
    assert "-q is given 2 times; ask one question a call" in done.err
    done = run("answer", "-q", "who?", "-c", text, text)
    assert (done.status, done.out) == (1, "")
    assert "stands where the model does; give each text its own -c" in done.err


def test_answer_refuses_what_is_no_text(run: Run, tmp_path: Path, reader: Path) -> None:
    done = run("answer", reader, "-q", "which ?", "-c", tmp_path / "none.txt")
    assert done.status == 1
    assert "cannot be read" in done.err
    done = run("answer", reader, "-q", "which ?", "-c", "-", stdin=b"\xff\xfe")
    assert done.status == 1
    assert "not UTF-8" in done.err
    done = run("answer", reader, "-q", " ", "-c", "-", stdin=b"text")
    assert done.status == 1
    assert "-q ' ': holds nothing to read; ask something" in done.err
    blank = tmp_path / "blank.txt"
    blank.write_text(" \n")
    done = run("answer", reader, "-q", "which ?", "-c", "-", "-c", blank, stdin=b"text")
    assert done.status == 1
    assert "blank.txt: holds nothing to read; give some text" in done.err.replace("\n", "")


def test_train_takes_flags_and_leaves_a_reader(
    run: Run, tmp_path: Path, data: Path, encoder: Path
) -> None:
    out = tmp_path / "run"
    done = run(
        "train", "--model", encoder, "--train", data, "--dev", data, "--out", out,
        "--fit.epochs", "1", "--fit.precision=fp32", "--window.max_length", "32",
        "--window.stride", "8", "--window.max_question_tokens", "8", "--max-time", "5m",
    )  # fmt: skip
    assert done.status == 0, done.err
    assert f"reader of epoch 1 in {out}" in done.out.replace("\n", "")
    assert "parameters are trained" in done.err
    assert run("evaluate", out, data, "--json").status == 0


def test_an_interrupted_run_leaves_with_130(
    run: Run, tmp_path: Path, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("spanwise.training.train", interrupt)
    done = run("train", "--model", encoder, "--train", data, "--out", tmp_path / "run")
    assert done.status == 130


def test_train_without_accelerate_names_the_extra() -> None:
    code = "import sys; sys.modules['accelerate'] = None; import spanwise.training"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "MissingExtra: 'accelerate' is not installed" in done.stderr


def test_train_tells_its_progress_where_no_bar_is_drawn(
    run: Run, tmp_path: Path, data: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("spanwise.cli.training._SILENCE", 0.0)
    done = run("train", "--model", encoder, "--train", data, "--out", tmp_path / "run")
    assert done.status == 0, done.err
    assert "step 2/2  loss" in done.err
    assert "windows/s" in done.err


def test_train_reads_a_table_with_columns_of_its_own(
    run: Run, tmp_path: Path, encoder: Path
) -> None:
    file, out = tmp_path / "table.jsonl", tmp_path / "run"
    row = {
        "key": 1,
        "q": "which ?",
        "text": "the red lamp",
        "a": [{"text": "red", "answer_start": 4}],
    }
    file.write_text(json.dumps(row))
    names = "id=key,question=q,context=text,answers=a"
    done = run("train", "--model", encoder, "--train", file, "--out", out, "--columns", names)
    assert done.status == 0, done.err
    assert (out / "recipe.toml").read_text().count("key") == 1


def test_train_runs_the_stages_of_a_recipe_and_those_that_are_left(
    run: Run, tmp_path: Path, encoder: Path, data: Path
) -> None:
    file, out = tmp_path / "recipe.toml", tmp_path / "run"
    file.write_text(
        f"model = '{encoder}'\ntrain = '{data}'\nout = '{out}'\nfit.epochs = 1\n[[stages]]\n"
        "[[stages]]\nfit.seed = 1\n"
    )
    for flag in (["--resume"], ["--max-time", "1m"]):
        assert (
            "has 2 stages: --resume and --max-time are for a single run"
            in run("train", file, *flag).err
        )
    assert not out.exists()

    done = run("train", file)
    assert done.status == 0, done.err
    first = out / "stage-1"
    assert f"reader of epoch 1 in {out}" in done.out.replace("\n", "")
    settings = read_settings(out)
    assert settings is not None
    assert settings.provenance["base_model"] == str(first)
    assert settings.provenance["ancestors"][0]["base_model"] == str(encoder)

    shutil.move(first, tmp_path / "kept")
    assert run("train", file).status == 0  # it has ended: its first stage is not missed
    account = json.loads((out / "run.json").read_text())
    (out / "run.json").write_text(json.dumps(account | {"result": None}))
    moved = Path(shutil.move(out, tmp_path / "moved"))
    assert run("train", file, "--out", moved).status == 0  # it goes on from its own checkpoint
    assert not (moved / "stage-1").exists()
    out.mkdir()
    shutil.move(tmp_path / "kept", first)  # as if it had been killed between the stages
    again = run("train", "--resume", "--out", out).err.replace("\n", " ")
    assert "give the recipe whose stages began there again" in again
    alone = run("train", "--train", data, "--model", encoder, "--out", out).err.replace("\n", " ")
    assert "is not empty, and no run has begun there" in alone
    kept = (first / "run.json").stat().st_mtime_ns
    done = run("train", file)
    assert done.status == 0, done.err
    assert "has come to its end already" in done.err.replace("\n", " ")
    assert (first / "run.json").stat().st_mtime_ns == kept
    assert (out / "model.safetensors").is_file()


def test_later_stages_are_looked_at_before_the_first_is_run(
    run: Run, tmp_path: Path, encoder: Path, data: Path
) -> None:
    file, out = tmp_path / "recipe.toml", tmp_path / "run"
    recipe = f"model = '{encoder}'\ntrain = '{data}'\nout = '{out}'\n[[stages]]\n[[stages]]\n"
    file.write_text(recipe + "train = 'none.json'\n")
    assert "none.json" in run("train", file).err
    assert not out.exists()
    file.write_text(recipe)
    out.mkdir()
    (out / "notes.txt").write_text("of somebody else")
    assert "is not empty, and no run has begun there" in run("train", file).err.replace("\n", " ")
    assert [path.name for path in out.iterdir()] == ["notes.txt"]


def test_a_place_that_cannot_be_written_is_one_message(
    run: Run, tmp_path: Path, data: Path, reader: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, data / "under a file.json", tmp_path / "pipe"):
        for command in (
            ("evaluate", reader, data, "--predictions", place),
            ("audit", data, "--fix", place),
        ):
            done = run(*command)
            assert done.status == 1
            assert done.out == ""
            assert f"error: {command[-2]} '{place}': no file can be written there; name" in done.err


def test_train_names_what_is_wrong_with_its_flags(run: Run) -> None:
    done = run("train", "--fit.lr", "1")
    assert done.status == 1
    for part in ("fit.lr is unknown", "train is missing", "out is missing"):
        assert part in done.err
    for time in ("soon", "0s", "-5s", "infh", "nanm"):
        done = run("train", "--model", "m", "--train", "t", "--out", "o", f"--max-time={time}")
        assert f"--max-time '{time}': give a time above 0, as 90s" in done.err


def test_train_lists_its_settings(run: Run) -> None:
    from spanwise.training import list_settings, read_recipe

    done = run("train", "--settings")
    assert done.status == 0
    settings = list(list_settings())
    assert all(name.split(".")[1][:12] in done.out for name, _, _ in settings)
    meaning = {name: meaning for name, _, meaning in settings}["fit.patience"]
    assert meaning.startswith("stop after so many epochs without a better dev F1, or, where it is")
    recipe = read_recipe(None, {"model": "m", "train": "t", "out": "o"})
    sections = {
        name: getattr(recipe, name) for name in ("window", "decode", "head", "negatives", "fit")
    }
    expected = {f"{name}.{key}" for name, values in sections.items() for key in vars(values)}
    assert {name for name, _, _ in settings} == expected


def test_columns_name_a_tables_own_columns(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_text("key,q,text\n1,which ?,the red lamp\n")
    done = run("audit", file, "--columns", "id=key,question=q,context=text", "--json")
    assert json.loads(done.out)["counts"]["questions"] == 1
    done = run("audit", file, "--columns", "question")
    assert done.status == 1
    assert "'question'" in done.err


def test_the_sample_passes_a_strict_audit(run: Run) -> None:
    sample = Path(demo.__file__).parent.parent / "sample"
    files = [sample / "train.json", sample / "dev.json"]
    assert run("audit", *files, "--model", OFFLINE_ENCODER, "--strict").status == 0


def test_answer_tells_two_texts_of_one_name_apart(run: Run, tmp_path: Path, reader: Path) -> None:
    file = tmp_path / "text.txt"
    file.write_text("the red lamp")
    assert run("answer", reader, "-q", "which ?", "-c", file, "-c", file, "--top-k", 9).status == 0


def test_evaluate_says_what_its_numbers_are_worth(run: Run, reader: Path, data: Path) -> None:
    done = run("evaluate", reader, data)
    assert "95 % intervals over all: EM " in done.out
    assert "by chance a perfectly calibrated reader would show 0." in done.out
    assert "language: en (guessed from the data; --language sets it)" in done.err
    told = json.loads(run("evaluate", reader, data, "--language", "de", "--json").out)
    assert told["language"] == "de"
    assert told["ece_low"] < told["ece_high"]
    assert told["f1_low"] <= told["f1"] <= told["f1_high"]


def test_compare_takes_models_and_predictions(run: Run, tmp_path: Path, reader: Path) -> None:
    data = tmp_path / "data.json"
    write_examples(data, make_colours(40, seed=1, unanswerable=0.3), form="squad")
    gold = {one.id: one.answers[0].text if one.answers else "" for one in read_examples(data)}
    file = tmp_path / "gold.json"
    file.write_text(json.dumps(gold))
    done = run("compare", data, reader, file)
    assert done.status == 0
    assert f"only {file} is right: " in done.out
    assert f"only {reader} is right: 0 questions" in done.out
    assert "the second over the first: EM +" in done.out
    assert "kind: " in done.out
    assert "it alone puts some " in done.out
    assert " more, whose ids stand in --json" in done.out
    told = json.loads(run("compare", data, reader, file, "--json").out)
    assert told["second"]["exact"] == 100
    assert told["difference"]["exact"]["value"] == pytest.approx(100 - told["first"]["exact"])
    assert len(told["gained"]) == round(40 * told["difference"]["exact"]["value"] / 100)
    del gold[min(gold)]
    file.write_text(json.dumps(gold))
    assert "1 questions have no prediction in" in run("compare", data, reader, file).err
    nothing = run("compare", data, reader, tmp_path / "missing.json")
    assert nothing.status == 1
    assert "missing.json' is neither a folder here nor" in " ".join(nothing.err.split())


def test_calibrate_writes_where_it_is_told(
    run: Run, tmp_path: Path, reader: Path, data: Path
) -> None:
    done = run("calibrate", reader, data, "--out", tmp_path / "fitted", "--json")
    told = json.loads(done.out)
    fitted = read_settings(tmp_path / "fitted")
    assert fitted is not None
    assert fitted.calibration.fitted_on == "data.json"
    assert fitted.calibration.threshold == told["threshold"]
    assert fitted.calibration.temperature == told["temperature"] != 1
    assert {file.name for file in (tmp_path / "fitted").iterdir()} == {
        file.name for file in reader.iterdir()
    }
    stored = read_settings(reader)
    assert stored is not None
    assert not stored.calibration.fitted_on
    again = run("evaluate", tmp_path / "fitted", data, "--json")
    scores = json.loads(again.out)
    told_of = " ".join(again.err.split())
    assert "is data where the threshold was fitted: its scores flatter" in told_of
    compared = run("compare", data, tmp_path / "fitted", reader, "--json").err
    assert " ".join(compared.split()).count("its scores flatter") == 1
    assert "flatter" not in run("evaluate", reader, data, "--json").err
    assert scores["f1"] == pytest.approx(told["after"]["f1"])
    assert scores["ece"] == pytest.approx(told["after"]["ece"])


def test_a_reader_that_always_answers_is_told_of(
    run: Run, tmp_path: Path, reader: Path, data: Path
) -> None:
    bold = shutil.copytree(reader, tmp_path / "bold")
    settings = read_settings(bold)
    assert settings is not None
    write_settings(bold, replace(settings, decode=replace(settings.decode, use_null=False)))
    text = tmp_path / "text.txt"
    text.write_text("red lamp")
    ask = ("answer", bold, "-q", "which ?", "-c", text)
    says = "never says 'not in this text'"
    bolder = (*ask, "--threshold", "0.1")
    for command in (bolder, ("evaluate", bold, data), ("calibrate", bold, data)):
        assert says in " ".join(run(*command).err.split())
    assert says not in " ".join(run(*ask).err.split())


def test_calibrate_changes_a_folder_in_its_place(
    run: Run, tmp_path: Path, reader: Path, data: Path
) -> None:
    folder = Path(shutil.copytree(reader, tmp_path / "mine"))
    done = run("calibrate", folder, data)
    assert "calibration error (ECE)" in done.out
    assert "answers " in done.out
    taken = run("calibrate", "builtin", data, "--out", folder)
    assert taken.status == 1
    assert f"--out {folder} is not empty; name a new folder" in " ".join(taken.err.split())
    assert f"written to {folder}; score it on other questions" in " ".join(done.err.split())
    fitted = read_settings(folder)
    assert fitted is not None
    assert fitted.calibration.temperature != 1
    before = (folder / "spanwise.json").read_bytes()
    refused = run("calibrate", folder, data, "--target-precision", "1")
    assert refused.status == 1
    assert "a precision of 1 is not reached at any threshold: the best is" in refused.err
    assert (folder / "spanwise.json").read_bytes() == before


def test_calibrate_does_not_write_into_the_package_or_the_hub(run: Run, data: Path) -> None:
    for model in ("builtin", "deepset/tinyroberta-squad2"):
        done = run("calibrate", model, data)
        assert done.status == 1
        assert f"{model} is not a folder of yours; say where to write with --out DIR" in done.err


def test_calibrate_says_what_its_data_cannot_tell(run: Run, tmp_path: Path, reader: Path) -> None:
    write_examples(tmp_path / "data.json", make_colours(12, seed=1), form="squad")
    done = run("calibrate", reader, tmp_path / "data.json", "--out", tmp_path / "fitted")
    assert done.status == 0
    assert "all 12 questions are of one kind" in done.err
    assert "12 questions are too few to be sure" in " ".join(done.err.split())
    assert "left out of" in done.out
    refused = run("calibrate", reader, "missing.json", "--target-precision", "90")
    assert "--target-precision 90.0: give a share above 0, up to 1" in refused.err


def test_what_is_fitted_rests_on_all_questions_and_on_none_that_were_learnt_from(
    run: Run, tmp_path: Path, reader: Path, data: Path
) -> None:
    rows = "id,question,context,answers\na,which ?,red lamp,red\nb,which ?,red lamp,[]\n"
    (tmp_path / "partly.csv").write_text(rows)
    done = run("calibrate", reader, tmp_path / "partly.csv", "--out", tmp_path / "fitted")
    assert done.status == 1
    assert "1 faults leave questions out" in done.err
    assert not (tmp_path / "fitted").exists()
    for verb in ("evaluate", reader), ("compare", tmp_path / "partly.csv", reader):
        command = (*verb, tmp_path / "partly.csv") if verb[0] == "evaluate" else (*verb, reader)
        assert "not of all questions: 1 faults left others out" in run(*command).out
        assert json.loads(run(*command, "--json").out)["unread"] == 1
    folder = Path(shutil.copytree(reader, tmp_path / "mine"))
    stored = read_settings(folder) or ReaderSettings()
    write_settings(folder, replace(stored, provenance={"train": {str(data): hash_file(data)}}))
    done = run("calibrate", folder, data)
    assert "is data which the reader learnt from, and surer of" in " ".join(done.err.split())


def test_names_may_look_like_markup(run: Run, tmp_path: Path, data: Path) -> None:
    gold = {one.id: one.answers[0].text if one.answers else "" for one in read_examples(data)}
    file = tmp_path / "[b]{x}.json"
    file.write_text(json.dumps(gold))
    shown = run("compare", data, file, file).out
    assert "only" in shown
    odd = tmp_path / "q[bold].json"
    shutil.copy(data, odd)
    assert "q[bold].json" in run("audit", odd).out.replace("\n", "")

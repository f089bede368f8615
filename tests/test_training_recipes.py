"""Recipes: flags over them, what is wrong with them, and stages."""

from pathlib import Path

import pytest

from spanwise.errors import ConfigError
from spanwise.training import read_recipe, read_stages

RECIPES = Path(__file__).parent.parent / "recipes"
STAGES = """
model = "m"
out = "o"
train = ["t"]
columns = {id = "key"}
fit = {epochs = 2, seed = 7}
[[stages]]
train = ["u", "v"]
fit = {learning_rate = 1e-4}
columns = {answers = "a"}
[[stages]]
fit = {epochs = 1}
head = {kind = "mlp"}
"""


def test_a_config_names_wrong_types() -> None:
    with pytest.raises(ConfigError, match=r"fit\.epochs is 'two': it must be a number"):
        read_recipe(None, {"model": "m", "train": ("t",), "out": "o", "fit.epochs": "two"})
    with pytest.raises(ConfigError, match=r"fit\.freeze is 'head': .*'encoder'.*whole number"):
        read_recipe(None, {"model": "m", "train": ("t",), "out": "o", "fit.freeze": "head"})


def test_a_section_that_is_no_table_is_named_under_flags_too(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('model = "m"\ntrain = "t"\nout = "o"\nfit = 3\ncolumns.id = 4\n')
    with pytest.raises(ConfigError, match="fit is 3: it must be a table") as caught:
        read_recipe(file, {"fit.epochs": "1"})
    assert caught.value.problems[0] == "columns is {'id': 4}: it must be a table of text"


def test_flags_are_read_as_the_type_of_their_field() -> None:
    flags = {
        "model": "m", "train": ["a", "b"], "out": "o", "fit.epochs": "3", "fit.freeze": "2",
        "fit.learning_rate": "1e-4", "head.kind": "mlp", "fit.report_to": "tensorboard",
    }  # fmt: skip
    config = read_recipe(None, flags)
    assert config.train == ("a", "b")
    assert (config.fit.epochs, config.fit.freeze, config.fit.learning_rate) == (3.0, 2, 1e-4)
    assert config.head.kind == "mlp"
    assert config.fit.report_to == ("tensorboard",)


def test_flags_override_the_recipe(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('model = "m"\ntrain = ["t"]\nout = "o"\n[fit]\nepochs = 5\nseed = 7\n')
    config = read_recipe(file, {"fit.epochs": "1.5"})
    assert (config.fit.epochs, config.fit.seed) == (1.5, 7)


def test_a_recipe_names_unknown_and_missing_settings_all_at_once(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('modell = "m"\n[fit]\nepoch = 5\n')
    with pytest.raises(ConfigError) as caught:
        read_recipe(file, {"window.size": "3"})
    text = str(caught.value)
    for part in (
        "modell is unknown",
        "fit.epoch is unknown; is it fit.epochs?",
        "window.size is unknown; known are",
        "--out",
    ):
        assert part in text


def test_a_recipe_that_is_no_toml_is_named(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text("model: m")
    with pytest.raises(ConfigError, match=r"recipe\.toml: not a TOML recipe"):
        read_recipe(file, {})
    with pytest.raises(ConfigError, match=r"none\.toml: cannot be read: No such file"):
        read_recipe(tmp_path / "none.toml", {})


def test_a_stage_has_its_own_settings_and_begins_with_the_reader_before(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(STAGES)
    first, last = read_stages(file, {})
    assert (first.model, first.out) == ("m", "o/stage-1")
    assert (last.model, last.out) == ("o/stage-1", "o")
    assert (first.train, last.train) == (("u", "v"), ("t",))
    assert (first.fit.epochs, last.fit.epochs) == (2, 1)
    assert (first.fit.learning_rate, last.fit.learning_rate) == (1e-4, 3e-5)
    assert (first.head.kind, last.head.kind) == ("linear", "mlp")
    assert (first.columns, last.columns) == ({"id": "key", "answers": "a"}, {"id": "key"})
    assert first.fit.seed == last.fit.seed == 7


def test_a_flag_counts_for_all_stages_but_the_model_for_the_first(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(STAGES)
    first, last = read_stages(file, {"fit.epochs": "3", "model": "n", "out": "p/"})
    assert first.fit.epochs == last.fit.epochs == 3
    assert (first.model, first.out) == ("n", "p/stage-1")
    assert (last.model, last.out) == ("p/stage-1", "p/")


def test_a_recipe_without_stages_is_one(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text('train = "t"\nout = "o"\n')
    assert read_stages(file, {}) == (read_recipe(file, {}),)


@pytest.mark.parametrize("file", sorted(RECIPES.glob("*.toml")), ids=lambda file: file.stem)
def test_the_recipes_that_we_ship_are_sound(file: Path) -> None:
    for stage in read_stages(file, {}):
        assert stage.dev == ("data/squad2-dev.json",)


def test_faults_of_stages_are_told_by_number_and_those_of_the_recipe_once(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        'train = "t"\nsize = 3\n[[stages]]\nfit.seed = -1\n[[stages]]\n'
        'model = "m"\nfit.epoch = 1\nstages = 4\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_stages(file, {})
    begun = [problem.partition("; known")[0] for problem in caught.value.problems]
    assert [problem.partition(":")[0] for problem in begun[2:]] == ["stage 2"] * 3
    for part in (
        "size is unknown", "stage 2: model is not for a stage to say: each begins with the",
        "stage 2: fit.epoch is unknown", "stage 2: stages is unknown",
        "out is missing; give it in the recipe",
    ):  # fmt: skip
        assert any(problem.startswith(part) for problem in begun), part


@pytest.mark.parametrize("value", ["3", "[]", '["a"]', "{fit = {epochs = 1}}"])
def test_stages_that_are_no_tables_are_named(tmp_path: Path, value: str) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(f'train = "t"\nout = "o"\nstages = {value}\n')
    with pytest.raises(ConfigError, match=r"stages must be tables, each under .* \[\[stages\]\]"):
        read_stages(file, {})


def test_one_run_is_not_read_from_stages(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(STAGES)
    with pytest.raises(ConfigError, match=r"recipe\.toml: has 2 stages; read it with read_stages"):
        read_recipe(file, {})


def test_a_revision_is_of_the_first_model_alone(tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(STAGES.replace('out = "o"', 'out = "o"\nrevision = "main"'))
    first, last = read_stages(file, {})
    assert (first.revision, last.revision) == ("main", None)


def test_what_stands_in_place_of_a_section_is_reported_though_each_stage_has_one(
    tmp_path: Path,
) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(
        'train = "t"\nout = "o"\nfit = 3\n[[stages]]\nfit.seed = 1\n[[stages]]\nfit.seed = 2\n'
    )
    with pytest.raises(ConfigError) as caught:
        read_stages(file, {})
    assert list(caught.value.problems) == ["fit is 3: it must be a table"]

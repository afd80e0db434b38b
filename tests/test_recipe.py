import math

import pytest

from trainer.presets import PRESETS, STARTER, changed
from trainer.recipe import Recipe, RecipeError, fields


def test_a_recipe_survives_the_way_to_json_and_back():
    assert Recipe.from_dict(STARTER.as_dict()) == STARTER


def test_every_field_has_a_sentence_of_help_and_a_default_within_its_bounds():
    for field in fields():
        assert field.help.endswith("."), field.name
        assert field.kind is str or field.low <= field.default <= field.high, field.name


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_recipe(preset: str):
    assert Recipe.from_dict(PRESETS[preset].as_dict()) == PRESETS[preset]


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 0, "between 1 and 10000 epochs"),
        ("epochs", 2.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", "8", "a whole number"),
        ("learning_rate", -1e-4, "between 0 and 1000"),
        ("learning_rate", math.nan, "between 0 and 1000"),
        ("precision", "float16", "one of float32, bfloat16"),
        ("architecture", "", "a name"),
    ],
)
def test_a_wrong_value_is_refused_with_the_fields_name(name: str, value, sentence: str):
    with pytest.raises(RecipeError, match=sentence) as refused:
        Recipe.from_dict({name: value})
    assert refused.value.field == name
    assert str(refused.value).startswith(name)


def test_an_unknown_field_is_refused_with_the_nearest_one():
    with pytest.raises(RecipeError, match=r"no field 'epoch'\. Did you mean 'epochs'\?"):
        Recipe.from_dict({"epoch": 8})


def test_fields_are_changed_as_they_are_typed():
    assert changed(STARTER, ["epochs=2", "architecture=resnet18", "flip=0"]) == Recipe.from_dict(
        STARTER.as_dict() | {"epochs": 2, "architecture": "resnet18", "flip": 0}
    )
    with pytest.raises(RecipeError, match="field=value"):
        changed(STARTER, ["epochs"])

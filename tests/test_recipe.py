import math

import pytest

from classifier.preprocess import Preprocessing
from trainer.presets import STARTER, changed
from trainer.recipe import Recipe, RecipeError, fields

pytestmark = pytest.mark.alone


def test_a_recipe_survives_the_way_to_json_and_back():
    assert Recipe.from_dict(STARTER.as_dict()) == STARTER


def test_every_field_has_a_sentence_of_help_and_a_default_within_its_bounds():
    for field in fields():
        assert field.help.endswith("."), field.name
        assert field.kind is str or field.low <= field.default <= field.high, field.name


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 0, "between 1 and 10000 epochs"),
        ("epochs", 2.5, "a whole number"),
        ("epochs", True, "a whole number"),
        ("epochs", "8", "a whole number"),
        ("learning_rate", -1e-4, "between 0 and 1000"),
        ("learning_rate", math.nan, "between 0 and 1000"),
        ("precision", "float16", "one of auto, float32, bfloat16"),
        ("architecture", "", "a name"),
    ],
)
def test_a_wrong_value_is_refused_with_the_fields_name(name: str, value, sentence: str):
    with pytest.raises(RecipeError, match=sentence) as refused:
        Recipe.from_dict({name: value})
    assert refused.value.field == name
    assert str(refused.value).startswith(name)


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"architecture": "resnet19"}, "architecture"),
        ({"head": "800-"}, "head"),
        ({"head": "dense"}, "head"),
        ({"weights": "random", "batch_norm": "frozen"}, "batch_norm"),
        ({"weights": "random", "batch_norm": "trained", "trainable": "head"}, "trainable"),
        ({"photo_size": 32, "crop_padding": 32}, "crop_padding"),
        ({"evaluation_size": 7}, "evaluation_size"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_fields_name(values: dict, field: str):
    with pytest.raises(RecipeError) as refused:
        Recipe(**values)
    assert refused.value.field == field
    assert str(refused.value).startswith(field)


def test_a_recipe_says_its_network_as_an_artifact_does():
    assert Recipe(architecture="resnet18").as_architecture() == {"name": "resnet18", "head": {"kind": "linear"}}
    assert Recipe(head="512-256", head_dropout=0.1).as_architecture() == {
        "name": "mobilenet_v2",
        "head": {"kind": "dense", "layers": [512, 256], "dropout": 0.1},
    }


def test_pictures_are_prepared_at_the_size_of_evaluation():
    assert Recipe(image_size=160).preprocessing().crop == 160
    assert Recipe(image_size=160, evaluation_size=192).preprocessing().resize == 192
    assert Recipe().preprocessing() == Preprocessing(resize=224, crop=224)  # ImageNet's colours, as every other default
    assert Recipe(normalization="half").preprocessing().mean == (0.5, 0.5, 0.5)


def test_the_recipe_of_an_older_artifact_is_still_read():
    old = {"architecture": "mobilenet_v2", "epochs": 5, "mixup": 0.0, "clip_norm": 1.0, "precision": "float32"}
    assert Recipe.from_dict(old).epochs == 5


def test_an_unknown_field_is_refused_with_the_nearest_one():
    with pytest.raises(RecipeError, match=r"no field 'epoch'\. Did you mean 'epochs'\?"):
        Recipe.from_dict({"epoch": 8})


def test_fields_are_changed_as_they_are_typed():
    assert changed(STARTER, ["epochs=2", "architecture=resnet18", "flip=0"]) == Recipe.from_dict(
        STARTER.as_dict() | {"epochs": 2, "architecture": "resnet18", "flip": 0}
    )
    assert changed(STARTER, ["head=800"]).head == "800"  # a text that looks like a number
    with pytest.raises(RecipeError, match="epochs must be a whole number"):
        changed(STARTER, ["epochs=two"])
    with pytest.raises(RecipeError, match="field=value"):
        changed(STARTER, ["epochs"])

import pytest

from classifier.networks.table import table
from trainer.presets import CATALOGUE
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

SYSTEMS = [
    *("animals10-resnet9", "animals10-cnn", "oversampling", "animals10-vgg16", "dogs120-resnet152"),
    *("cifar10-resnet9", "cifar10-resnet18", "cifar100-deepnet", "cifar100-resnet18"),
]


def test_every_system_has_its_preset_and_says_what_was_mended():
    assert set(CATALOGUE) == {*SYSTEMS, "transfer", "starter"}
    assert all(CATALOGUE[name].mended.endswith(".") for name in SYSTEMS)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_preset_is_a_recipe_with_help_and_a_split(name: str):
    preset = CATALOGUE[name]
    assert Recipe.from_dict(preset.recipe.as_dict()) == preset.recipe
    assert preset.help.endswith(".")
    assert sum(preset.fractions) == pytest.approx(1)
    assert min(preset.fractions) > 0


@pytest.mark.parametrize(
    ("name", "labels", "parameters", "learning"),
    [
        ("animals10-resnet9", 10, 6_575_370, None),
        ("animals10-cnn", 10, 17_783_050 - 3_712, None),
        ("oversampling", 10, 17_783_050 - 3_712, None),
        ("animals10-vgg16", 10, 27_725_770, 13_011_082 + 3 * (512 * 512 * 9 + 512)),
        ("dogs120-resnet152", 120, 59_879_128, 1_735_320),
        ("cifar10-resnet9", 10, 6_575_370, None),
        ("cifar10-resnet18", 10, 7_830_666, None),
        ("cifar100-deepnet", 100, 24_766_356, None),
        ("cifar100-resnet18", 100, 11_227_812, None),
        ("transfer", 10, 2_236_682, 12_810),
        ("starter", 120, 2_377_592, None),
    ],
)
def test_the_network_of_a_preset_has_its_parameters_and_takes_its_pictures(name, labels, parameters, learning):
    recipe = CATALOGUE[name].recipe
    for size in (recipe.image_size, recipe.preprocessing().crop):
        found = table(
            recipe.as_architecture(),
            label_count=labels,
            image_size=size,
            trainable=recipe.trainable,
            last_blocks=recipe.last_blocks,
        )
        assert found.parameters == parameters
        assert found.trainable == (learning or parameters)


def test_the_systems_own_figures_are_in_their_presets():
    cifar = CATALOGUE["cifar10-resnet9"].recipe
    assert (cifar.epochs, cifar.batch_size, cifar.learning_rate, cifar.weight_decay) == (8, 400, 0.01, 1e-4)
    assert (cifar.optimizer, cifar.schedule, cifar.warmup, cifar.clip_value) == ("adam", "one-cycle", 0.3, 0.1)
    assert [round(60_000 * part) for part in CATALOGUE["cifar10-resnet9"].fractions] == [45_000, 5_000, 10_000]
    dogs = CATALOGUE["dogs120-resnet152"]
    assert (dogs.recipe.optimizer, dogs.recipe.learning_rate, dogs.recipe.batch_size) == ("sgd", 0.0015, 64)
    assert dogs.fractions[0] == 0.75
    animals = CATALOGUE["animals10-cnn"].recipe
    assert (animals.rotation_degrees, animals.shift, animals.zoom, animals.epochs) == (25, 0.2, 0.3, 110)

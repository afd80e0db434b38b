import pytest

from trainer.compatible import check
from trainer.recipe import Recipe, RecipeError
from trainer.weights import WeightsError

pytestmark = pytest.mark.alone


@pytest.mark.parametrize(
    ("name", "normalization"),
    [
        ("resnet18", "imagenet"),
        ("efficientnet_v2_l", "half"),
        ("timm-vit_tiny_patch16_224", "half"),
        ("timm-vit_base_patch16_clip_224", "imagenet"),  # its own figures lie nearest to ImageNet's
        ("timm-tresnet_m", "none"),
    ],
)
def test_pixels_must_be_normalized_as_the_published_weights_expect(name: str, normalization: str):
    check(Recipe(architecture=name, normalization=normalization), label_count=5, published=True)
    for other in {"imagenet", "half", "none"} - {normalization}:
        with pytest.raises(RecipeError, match=f"normalization must be {normalization} for {name}"):
            check(Recipe(architecture=name, normalization=other), label_count=5, published=True)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"architecture": "plain_cnn", "image_size": 64}, "image_size: plain_cnn cannot take pictures of 64x64 pixels"),
        ({"architecture": "vit_b_16", "evaluation_size": 256}, "evaluation_size: vit_b_16 cannot take"),
        ({"architecture": "vit_b_16", "image_size": 160, "evaluation_size": 224}, "image_size: vit_b_16 cannot take"),
    ],
)
def test_pictures_must_have_a_size_that_the_network_takes(changes: dict, field: str):
    recipe = Recipe(**changes, weights="random", batch_norm="trained")
    with pytest.raises(RecipeError, match=field):
        check(recipe, label_count=5, published=False)


def test_weights_that_nobody_published_cannot_be_wanted():
    recipe = Recipe(architecture="resnet9")
    with pytest.raises(WeightsError, match="no published weights of resnet9: set weights to random"):
        check(recipe, label_count=5, published=True)
    check(recipe, label_count=5, published=False)

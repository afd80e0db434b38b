"""Published weights: where they are looked for, what is said where they are not, and how they come into a network."""

import pytest
import torch
from safetensors.torch import save_file

from classifier.networks import catalogue, timm_family, torchvision_family
from trainer.warmstart import locate, warm_start
from trainer.weights import WeightsError, find

pytestmark = pytest.mark.alone

LINEAR = {"kind": "linear"}
DENSE = {"kind": "dense", "layers": [8], "dropout": 0.1}


@pytest.fixture
def offline(monkeypatch):
    """No library reaches anything."""

    def fetch(name: str):
        raise OSError("the network is unreachable")

    for family in (torchvision_family, timm_family):
        monkeypatch.setattr(family, "fetch", fetch)


def state_of(name: str) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return catalogue.create({"name": name, "head": LINEAR}, label_count=1000).state_dict()


def test_a_folder_is_searched_by_both_names_and_safetensors_come_first(tmp_path):
    assert find(tmp_path, "resnet18", "resnet18-f37072fd.pth") is None
    for name in ("resnet18-f37072fd.pth", "resnet18.pth", "resnet18-f37072fd.safetensors", "resnet18.safetensors"):
        (tmp_path / name).touch()
        assert find(tmp_path, "resnet18", "resnet18-f37072fd.pth") == tmp_path / name


def test_the_librarys_own_file_name_is_known():
    assert catalogue.weights_file("resnet18") == "resnet18-f37072fd.pth"
    assert catalogue.weights_file("timm-resnet18") == "resnet18.a1_in1k.safetensors"
    assert catalogue.weights_file("resnet9") is None


@pytest.mark.parametrize(
    ("name", "file"),
    [("squeezenet1_1", "squeezenet1_1-b8a52dc0.pth"), ("timm-test_resnet", "test_resnet.r160_in1k.safetensors")],
)
def test_missing_weights_are_named_with_the_place_to_put_them(offline, tmp_path, name: str, file: str):
    with pytest.raises(WeightsError, match=rf"put the file {file} into {tmp_path}\. .*the network is unreachable"):
        warm_start({"name": name, "head": LINEAR}, ["a", "b"], tmp_path)
    with pytest.raises(WeightsError, match="into a folder and set WEIGHTS_DIR to it"):
        locate(name, None)


def test_a_network_that_nobody_published_says_so(tmp_path):
    with pytest.raises(WeightsError, match="no published weights of resnet9: set weights to random"):
        warm_start({"name": "resnet9", "head": LINEAR}, ["a", "b"], tmp_path)


@pytest.mark.parametrize("head", [LINEAR, DENSE])
@pytest.mark.parametrize("name", ["squeezenet1_1", "timm-test_resnet", "timm-test_vit"])
def test_the_backbone_comes_from_the_folder_and_the_head_is_new(offline, tmp_path, name: str, head: dict):
    state = state_of(name)
    save_file(state, tmp_path / f"{name}.safetensors")
    warm = warm_start({"name": name, "head": head}, ["beech", "oak", "larch"], tmp_path)
    taken = [
        tensor
        for tensor, value in warm.net.state_dict().items()
        if tensor in state and value.shape == state[tensor].shape
    ]
    assert len(taken) >= len(state) - 2
    assert all(torch.equal(warm.net.state_dict()[tensor], state[tensor]) for tensor in taken)
    assert warm.matched == {}
    assert len(warm.weights_sha256) == 64


def test_a_linear_head_of_timm_starts_from_the_rows_of_its_labels_names(offline, tmp_path):
    state = state_of("timm-test_resnet")
    save_file(state, tmp_path / "timm-test_resnet.safetensors")
    warm = warm_start({"name": "timm-test_resnet", "head": LINEAR}, ["golden_retriever", "own"], tmp_path)
    assert list(warm.matched) == ["golden_retriever"]
    assert torch.equal(warm.net.fc.weight[0], state["fc.weight"][207])
    assert torch.allclose(warm.net.fc.weight[1], state["fc.weight"].mean(0))


def test_weights_of_another_network_of_timm_are_refused(offline, tmp_path):
    save_file(state_of("timm-test_vit"), tmp_path / "timm-test_resnet.safetensors")
    with pytest.raises(WeightsError, match="is not of a pretrained timm-test_resnet"):
        warm_start({"name": "timm-test_resnet", "head": LINEAR}, ["a", "b"], tmp_path)


def test_densenets_old_names_are_read(offline, tmp_path):
    state = state_of("densenet121")
    old = {tensor.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for tensor, value in state.items()}
    assert old.keys() != state.keys()
    assert torchvision_family.published("densenet121", old).keys() == state.keys()


def test_inception_networks_take_pixels_normalized_as_all_others():
    with torch.device("meta"):
        assert torchvision_family.create("googlenet", label_count=3).transform_input

import pytest
import torch
from safetensors.torch import save_file

from classifier.networks import torchvision_family
from trainer.warmstart import WeightsError, match_labels, read_weights, warm_start

pytestmark = pytest.mark.alone

ARCHITECTURE = {"name": "mobilenet_v2", "head": {"kind": "linear"}}
KNOWN = torchvision_family.pretrained_labels("mobilenet_v2")


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A pretrained network of random weights, as torchvision publishes one: row r of the head is full of r."""
    torch.manual_seed(0)
    state = torchvision_family.create("mobilenet_v2", label_count=1000).state_dict()
    state["classifier.1.weight"] = torch.arange(1000.0)[:, None].repeat(1, 1280) * torch.rand(1, 1280)
    state["classifier.1.bias"] = torch.arange(1000.0)
    file = tmp_path_factory.mktemp("weights") / "mobilenet_v2.pth"
    torch.save(state, file)
    return file


def test_each_label_starts_from_the_row_of_its_name_not_of_its_position(weights):
    warm = warm_start(ARCHITECTURE, ["shih-tzu", "border_collie", "my_own_breed"], weights)
    bias = warm.net.state_dict()["classifier.1.bias"]
    assert bias[0] == KNOWN.index("Shih-Tzu")
    assert bias[1] == KNOWN.index("Border collie")
    assert bias[2] == pytest.approx(999 / 2)  # the mean of all rows
    assert warm.matched == {"shih-tzu": "Shih-Tzu", "border_collie": "Border collie"}
    assert len(warm.weights_sha256) == 64


def test_the_backbone_is_taken_over_as_it_is(weights):
    warm = warm_start(ARCHITECTURE, ["pug", "boxer"], weights)
    state = torch.load(weights, weights_only=True)
    assert all(
        torch.equal(value, state[name]) for name, value in warm.net.state_dict().items() if "classifier" not in name
    )


def test_a_label_without_the_word_dog_finds_its_name():
    weight = torch.eye(3)
    assert match_labels(["maltese", "great_dane"], ["Great Dane", "Maltese dog", "dog sled"], weight) == {
        "maltese": 1,
        "great_dane": 0,
    }


def test_a_name_borne_twice_goes_to_the_row_that_is_like_the_other_labels():
    labels = ["cardigan", "pembroke", "collie"]
    names = ["cardigan", "Pembroke", "Cardigan", "collie"]
    weight = torch.tensor([[0.0, 1.0], [1.0, 0.1], [1.0, 0.2], [1.0, 0.0]])
    assert match_labels(labels, names, weight)["cardigan"] == 2


def test_an_empty_list_of_matches_is_no_error():
    assert match_labels(["beech", "oak"], ["pug"], torch.eye(1)) == {}


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(WeightsError, match=r"no file .*nowhere\.pth"):
        read_weights(tmp_path / "nowhere.pth")


def test_weights_of_another_network_are_refused_with_the_first_tensor_that_is_missing(weights):
    with pytest.raises(WeightsError, match="not of a pretrained resnet18"):
        warm_start({"name": "resnet18", "head": {"kind": "linear"}}, ["pug", "boxer"], weights)


def test_a_pickle_that_would_run_code_is_refused_and_not_run(tmp_path):
    class Payload:
        def __reduce__(self):
            return (tmp_path.joinpath("marker").write_text, ("ran",))

    torch.save({"weight": Payload()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="not a file of weights"):
        read_weights(tmp_path / "evil.pth")
    assert not (tmp_path / "marker").exists()


def test_garbage_is_refused(tmp_path):
    for name in ("garbage.pth", "garbage.safetensors"):
        (tmp_path / name).write_bytes(b"not weights at all")
        with pytest.raises(WeightsError, match="not a file of weights"):
            read_weights(tmp_path / name)


def test_safetensors_are_read(tmp_path):
    save_file({"weight": torch.ones(2)}, tmp_path / "w.safetensors")
    assert torch.equal(read_weights(tmp_path / "w.safetensors")["weight"], torch.ones(2))

"""What a frozen backbone sees, computed once: the same as looking anew, whoever asks, however often it is stopped."""

import dataclasses
from contextlib import closing
from importlib import metadata
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from tests.photos import make_records
from trainer import backbone, copies, dataset
from trainer.backbone import take_apart
from trainer.cache import FeatureCache
from trainer.evaluate import logits_of, loss_of, torch_forward
from trainer.features import Computing, Features
from trainer.fit import Fit, Measured
from trainer.ground import OnPhotos
from trainer.loop import Training, train
from trainer.recipe import Recipe, RecipeError
from trainer.weights import WeightsError

pytestmark = pytest.mark.alone

LABELS = ("chow", "pug", "samoyed")
SMALL = Preprocessing(resize=32, crop=32)
RECIPE = Recipe(
    architecture="resnet9", trainable="head", image_size=32, photo_size=32, epochs=4, batch_size=8, views=3,
    head_learning_rate=0.01, average=0.5,
)  # fmt: skip
PLAIN = RECIPE.changed(views=1, epochs=2, crop_scale=1, crop_ratio=1, rotation_degrees=0, flip=0, colour=0)


@pytest.fixture
def parts():
    yield dataset.prepare(make_records(LABELS, 10), seed=1)
    torch.use_deterministic_algorithms(False)


@pytest.fixture(autouse=True)
def quick(monkeypatch, request):
    """An export takes seconds: torch looks, but where a test is about ONNX Runtime."""
    if "exports" not in request.fixturenames:
        monkeypatch.setattr(backbone, "in_onnx", lambda net, side, within: backbone.in_torch(net))


@pytest.fixture
def exports():
    """The test is about ONNX Runtime."""


def network(recipe: Recipe = RECIPE, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    net = catalogue.create(recipe.as_architecture(), label_count=3)
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            nn.init.normal_(part.running_mean, 0, 0.1)
    return net.eval()


def fit(parts, work: Path, recipe: Recipe = RECIPE, **options) -> Fit:
    return Fit(network(recipe), parts, recipe, SMALL, work=work, **options)


def filled(parts, work: Path, recipe: Recipe = RECIPE, cache: FeatureCache | None = None) -> Features:
    work.mkdir(exist_ok=True)
    apart = take_apart(network(recipe), 32)
    made = Features(apart, parts, recipe, SMALL, work=work, cache=cache)
    list(made.fill())
    return made


def figures(epochs: list[Measured]) -> list[dict]:
    return [{name: value for name, value in one.as_dict().items() if "second" not in name} for one in epochs]


def bits(one: Fit) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in one.best["weights"].items()}


# --- taking a network apart -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "head", "side", "width"),
    [
        ("resnet9", "linear", 32, 512),
        ("resnet18", "linear", 64, 512),
        ("mobilenet_v2", "64-32", 64, 1280),
        ("plain_cnn", "linear", 128, 64),
        ("swin_t", "linear", 64, 768),
        ("squeezenet1_1", "16", 64, 512),
    ],
)
def test_backbone_and_head_together_are_the_network(name, head, side, width):
    recipe = RECIPE.changed(architecture=name, head=head)
    net = network(recipe)
    apart = take_apart(net, side)
    assert apart is not None and apart.width == width
    images = torch.rand(2, 3, side, side)
    with torch.inference_mode():
        assert torch.allclose(apart.head(apart.backbone(images)), net(images), atol=1e-5)
    assert apart.head.head is net.get_submodule(apart.head_name)  # what it learns, the network knows


def test_a_head_that_is_a_convolution_over_the_picture_is_not_taken_off():
    assert take_apart(network(RECIPE.changed(architecture="squeezenet1_1")), 64) is None


def test_a_network_that_does_more_with_its_head_is_not_taken_apart():
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
            self.head = nn.Linear(3, 3)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.head(self.body(images)).relu()

    assert take_apart(Twice(), 8) is None


def test_the_digest_of_a_backbone_knows_every_tensor_but_not_the_head():
    one, other = network(), network()
    with torch.no_grad():
        other.head.weight.add_(1)
    assert backbone.digest(take_apart(one, 32).backbone) == backbone.digest(take_apart(other, 32).backbone)
    with torch.no_grad():
        other.features[0][1].running_var.mul_(1.001)
    assert backbone.digest(take_apart(one, 32).backbone) != backbone.digest(take_apart(other, 32).backbone)


def test_onnx_runtime_sees_what_torch_sees(exports, tmp_path):
    whole = take_apart(network(), 32).backbone
    picture = np.random.default_rng(1).normal(size=(1, 3, 32, 32)).astype(np.float32)
    wanted = backbone.in_torch(whole)(picture)
    assert np.abs(backbone.look(whole, 32, within=tmp_path)(picture) - wanted).max() < 1e-4 * np.abs(wanted).max()
    assert list(tmp_path.iterdir()) == []  # the file of the graph is gone


@pytest.mark.parametrize("error", [RuntimeError("no operator for it\nand a long story"), torch.onnx.OnnxExporterError])
def test_torch_looks_where_the_export_fails_and_the_log_says_so(tmp_path, monkeypatch, caplog, error):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(backbone, "in_onnx", fail)
    whole = take_apart(network(), 32).backbone
    picture = np.ones((1, 3, 32, 32), np.float32)
    assert np.array_equal(backbone.look(whole, 32, within=tmp_path)(picture), backbone.in_torch(whole)(picture))
    assert "so torch does, which is slower" in caplog.text and "long story" not in caplog.text


# --- the same as looking anew -----------------------------------------------------------------------------------------
def test_training_on_features_is_training_on_photos(parts, tmp_path):
    """The oracle is the loop that looks at every photo in every epoch; nothing is changed at random here."""
    on_features = fit(parts, tmp_path, PLAIN)
    epochs = list(on_features.epochs())
    net = network(PLAIN)
    photos = OnPhotos(net, parts, PLAIN, SMALL, torch.device("cpu"))
    oracle = Training(net, PLAIN, head="head", steps_per_epoch=photos.source.steps(PLAIN.batch_size))
    for ours, theirs in zip(epochs, train(oracle, photos.source, SMALL), strict=True):
        logits = logits_of(torch_forward(oracle.kept()), parts.validation, SMALL)
        assert ours.epoch.loss == pytest.approx(theirs.loss, rel=1e-3)
        assert ours.validation_loss == pytest.approx(
            loss_of(logits, np.array(parts.answers(parts.validation))), rel=1e-3
        )
    kept = oracle.kept().state_dict()
    assert set(on_features.best["weights"]) == {"head.weight", "head.bias"}
    for name, tensor in on_features.training.kept().state_dict().items():
        assert torch.allclose(tensor, kept[name.replace("head.head", "head")], atol=1e-3)


def test_the_first_view_is_what_validation_sees_and_the_others_are_changed_from_seed_photo_and_view():
    data = make_records(LABELS, 2)[0].read()
    changed = PLAIN.changed(views=3, flip=0.5, crop_scale=0.5, colour=0.3)

    def see(recipe: Recipe, photo: str, *numbers: int) -> dict[int, np.ndarray]:
        return dict(copies.pictures(data, photo, numbers, recipe, SMALL))

    one = see(changed, "a" * 64, 0, 1, 2)
    assert {view: picture.shape for view, picture in one.items()} == dict.fromkeys(range(3), (1, 3, 32, 32))
    assert np.array_equal(one[0][0], copies.preprocess.preprocess(data, SMALL))
    assert not np.allclose(one[1], one[2]) and not np.allclose(one[0], one[1])
    assert np.array_equal(see(changed, "a" * 64, 2)[2], one[2])  # whatever else is asked for
    assert not np.allclose(see(changed, "b" * 64, 2)[2], one[2])
    assert not np.allclose(see(changed.changed(seed=2), "a" * 64, 2)[2], one[2])
    assert np.allclose(see(PLAIN, "a" * 64, 1)[1], one[0], atol=1e-5)  # nothing is changed


@pytest.mark.parametrize("package", ["torch", "timm", "onnxruntime"])
def test_a_kind_is_another_with_another_release_of_a_package_that_decides_a_row(package: str, monkeypatch):
    base = copies.kind("f" * 64, 0, RECIPE, SMALL)
    monkeypatch.setattr(copies, "version", lambda name: "0" if name == package else metadata.version(name))
    assert copies.kind("f" * 64, 0, RECIPE, SMALL) != base


def test_a_kind_is_another_for_everything_that_decides_a_row():
    base = copies.kind("f" * 64, 1, RECIPE, SMALL)
    assert copies.kind("f" * 64, 1, RECIPE.changed(epochs=9, head_learning_rate=0.5, views=9, mixup=0.2), SMALL) == base
    others = [
        copies.kind("e" * 64, 1, RECIPE, SMALL),
        copies.kind("f" * 64, 2, RECIPE, SMALL),
        copies.kind("f" * 64, 1, RECIPE, dataclasses.replace(SMALL, std=(1, 1, 1))),
        *(
            copies.kind("f" * 64, 1, RECIPE.changed(**{name: value}), SMALL)
            for name, value in {"seed": 2, "flip": 0.1, "photo_size": 40, "colour": 0.1, "zoom": 0.2}.items()
        ),
    ]
    assert len({base, *others}) == len(others) + 1
    assert copies.kind("f" * 64, 0, RECIPE, SMALL) == copies.kind("f" * 64, 0, RECIPE.changed(seed=2, flip=0.1), SMALL)


def test_an_epoch_draws_a_view_for_each_photo_from_seed_and_epoch(parts, tmp_path):
    made = filled(parts, tmp_path)
    count, choices, width = made.learning.shape
    assert (count, choices, width) == (len(parts.train), 3, 512)
    whole = RECIPE.changed(batch_size=count)
    epochs = [next(iter(made.batches(whole, epoch))) for epoch in range(40)]
    drawn = np.zeros((count, choices))
    for seen, labels in epochs:
        matches = (seen[:, None, None] == made.learning[None]).all(-1)  # (N, N, views)
        assert (matches.sum((1, 2)) == 1).all()
        rows, photos, chosen = matches.nonzero().T
        assert torch.equal(made.labels[photos], labels[rows])
        assert sorted(photos.tolist()) == list(range(count))
        drawn[photos, chosen] += 1
    assert (drawn > 0).all()  # 40 draws of 3 leave none out
    again = next(iter(made.batches(whole, 7)))
    assert torch.equal(again[0], epochs[7][0])
    first, second = islice(made.batches(RECIPE, 7), 2)
    assert torch.equal(next(iter(made.batches(RECIPE, 7, first=1)))[0], second[0])
    assert not torch.equal(first[0], second[0])


def test_a_photo_that_is_there_twice_is_looked_at_once(parts, tmp_path):
    twice = dataclasses.replace(parts, train=[*parts.train, parts.train[0]])
    made = filled(twice, tmp_path)
    assert torch.equal(made.learning[0], made.learning[-1])
    assert torch.isfinite(made.learning).all()


# --- stopped and gone on with -----------------------------------------------------------------------------------------
def test_what_is_in_the_cache_is_not_computed_again_by_any_run(parts, tmp_path, monkeypatch):
    cache = FeatureCache(tmp_path / "cache", max_bytes=10**8)
    first = filled(parts, tmp_path, cache=cache)
    monkeypatch.setattr(backbone, "look", None)  # nobody may look
    again = filled(parts, tmp_path, RECIPE.changed(epochs=9, head_learning_rate=0.1), cache)
    assert torch.equal(again.learning, first.learning) and torch.equal(again.plain, first.plain)
    with pytest.raises(TypeError):
        filled(parts, tmp_path, RECIPE.changed(views=4), cache)


def test_a_fill_that_is_closed_keeps_what_was_done_and_ends_with_the_same_bits(parts, tmp_path):
    cache = FeatureCache(tmp_path / "cache", max_bytes=10**8)
    undisturbed = filled(parts, tmp_path)
    stopped = Features(take_apart(network(), 32), parts, RECIPE, SMALL, work=tmp_path, cache=cache)
    with closing(stopped.fill()) as filling:
        told = list(islice(filling, 6))
    total = 3 * len(parts.train) + len(parts.validation)
    assert told == [Computing(3 * number, total) for number in range(6)]
    resumed = Features(take_apart(network(), 32), parts, RECIPE, SMALL, work=tmp_path, cache=cache)
    rest = list(resumed.fill())
    assert rest[0] == Computing(15, total) and rest[-1] == Computing(total, total)
    assert torch.equal(resumed.learning, undisturbed.learning) and torch.equal(resumed.plain, undisturbed.plain)


def test_threads_and_company_change_no_bit(parts, tmp_path):
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        three = filled(parts, tmp_path)
        torch.set_num_threads(1)
        alone = filled(dataclasses.replace(parts, train=parts.train[5:6]), tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(alone.learning[0], three.learning[5])


def test_as_many_threads_as_before_are_used_afterwards(parts, tmp_path):
    threads = torch.get_num_threads()
    filled(parts, tmp_path)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("changes", [{}, {"head": "16", "head_dropout": 0.3, "mixup": 0.2, "balance": "oversampling"}])
def test_a_resumed_fit_ends_with_the_same_bits_and_figures(parts, tmp_path, changes):
    recipe = RECIPE.changed(**changes)
    whole = fit(parts, tmp_path / "whole", recipe)
    epochs = list(whole.epochs())
    cache = FeatureCache(tmp_path / "cache", max_bytes=10**8)
    stopped = fit(parts, tmp_path / "a", recipe, cache=cache)
    with closing(stopped.progress()) as progress:
        before = list(islice((one for one in progress if isinstance(one, Measured)), 2))
    cache.empty()
    resumed = fit(parts, tmp_path / "b", recipe, earlier=[tmp_path / "a"], cache=cache)
    assert figures(before) + figures(list(resumed.epochs())) == figures(epochs)
    assert bits(resumed) == bits(whole)
    assert list(fit(parts, tmp_path / "b", recipe).progress()) == []  # nothing is looked at for nothing


def test_the_best_weights_are_those_of_the_head_by_their_names_in_the_network(parts, tmp_path):
    recipe = RECIPE.changed(head="16")
    one = fit(parts, tmp_path, recipe)
    list(one.epochs())
    net = network(recipe)
    assert set(one.best["weights"]) == {f"head.{name}" for name in ("0.weight", "0.bias", "3.weight", "3.bias")}
    net.load_state_dict(net.state_dict() | one.best["weights"])
    logits = logits_of(torch_forward(net), parts.validation, SMALL)
    assert loss_of(logits, np.array(parts.answers(parts.validation))) == pytest.approx(one.best["loss"], rel=1e-3)
    blended, shares = one.best_net()
    assert set(shares) == {0.25, 0.5, 0.75, 1.0}
    assert torch.equal(blended.features[0][0].weight, net.features[0][0].weight)


def test_a_checkpoint_of_other_frozen_weights_is_refused_in_words(parts, tmp_path):
    next(iter(fit(parts, tmp_path).epochs()))
    with pytest.raises(WeightsError, match="put the earlier file back"):
        Fit(network(seed=1), parts, RECIPE, SMALL, work=tmp_path)


def test_a_checkpoint_holds_the_head_alone(parts, tmp_path):
    list(fit(parts, tmp_path).epochs())
    assert max(file.stat().st_size for file in tmp_path.glob("*.checkpoint")) < 100_000  # the network has 26 MB


def test_a_network_that_cannot_be_taken_apart_looks_anew_in_every_epoch(parts, tmp_path, caplog):
    caplog.set_level("INFO")
    recipe = RECIPE.changed(architecture="squeezenet1_1", epochs=1)
    one = fit(parts, tmp_path, recipe)
    assert isinstance(one.ground, OnPhotos)
    assert "looks anew each epoch" in caplog.text
    assert len(list(one.epochs())) == 1


def test_cutmix_is_refused_where_the_backbone_looks_once():
    with pytest.raises(RecipeError, match="cutmix must be 0") as refused:
        RECIPE.changed(cutmix=1.0)
    assert refused.value.field == "cutmix"
    assert RECIPE.changed(cutmix=1.0, trainable="all").cutmix == 1


def test_a_photo_that_cannot_be_read_ends_it_with_its_own_error(parts, tmp_path):
    def gone() -> bytes:
        raise FileNotFoundError("gone.png")

    broken = dataclasses.replace(parts, train=[*parts.train, dataclasses.replace(parts.train[0], read=gone)])
    with pytest.raises(FileNotFoundError, match=r"gone\.png"):
        filled(broken, tmp_path)

"""What a network answered to each photo, in the order in which a person should look: wrong labels first."""

import numpy as np
import pytest
import torch

from classifier.networks import catalogue
from classifier.preprocess import Preprocessing
from tests.photos import draw, encoded
from trainer import answers
from trainer.dataset import Dataset
from trainer.evaluate import log_softmax, logits_of, torch_forward
from trainer.fit import Fit
from trainer.ingest.record import Record
from trainer.recipe import Recipe

pytestmark = pytest.mark.alone

LABELS = ("chow", "pug", "samoyed")
PROBABILITIES = np.random.default_rng(0).dirichlet([0.5, 0.5, 0.5], 60)
GIVEN = np.random.default_rng(1).integers(0, 3, 60)


def test_the_margin_is_what_the_label_has_above_the_best_other_one():
    found = answers.rows(PROBABILITIES, GIVEN, range(60), part="train")
    for row, probabilities, label in zip(found, PROBABILITIES, GIVEN, strict=True):
        others = [probability for index, probability in enumerate(probabilities) if index != label]
        assert row["margin"] == pytest.approx(probabilities[label] - max(others), abs=1e-6)
        assert row["own"] == pytest.approx(probabilities[label], abs=1e-6)
        assert (row["margin"] < 0) == (row["answer"] != label)


def test_test_photos_come_last_and_choose_nothing():
    parts = [answers.rows(PROBABILITIES, GIVEN, range(60), part=part) for part in ("train", "test", "validation")]
    found = answers.in_order(parts)
    names = [answers.PARTS[row["part"]] for row in found]
    assert names[120:] == ["test"] * 60 and set(names[:120]) == {"train", "validation"}
    assert list(found["margin"][:120]) == sorted(found["margin"][:120])
    assert list(found["margin"][120:]) == sorted(found["margin"][120:])


def test_a_file_gives_the_rows_back_and_those_that_are_asked_for(tmp_path):
    found = answers.in_order([answers.rows(PROBABILITIES, GIVEN, range(60), part="validation")])
    answers.write(tmp_path / "answers.npy", found)
    read = answers.read(tmp_path / "answers.npy")
    assert np.array_equal(read, found)
    assert [file.name for file in tmp_path.iterdir()] == ["answers.npy"]
    places = answers.chosen(read, ["validation"], label=1, answer=2)
    expected = [place for place in range(60) if found[place]["label"] == 1 and found[place]["answer"] == 2]
    assert places.tolist() == expected and expected
    assert len(answers.chosen(read, ["train", "test"])) == 0


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00", np.lib.format.MAGIC_PREFIX + b"\x09" * 99])
def test_a_damaged_file_is_said_in_words(tmp_path, content):
    (tmp_path / "answers.npy").write_bytes(content)
    with pytest.raises(answers.AnswersError, match=r"answers\.npy"):
        answers.read(tmp_path / "answers.npy")


def test_a_file_of_something_else_is_said_in_words(tmp_path):
    file = tmp_path / "answers.npy"
    for other in (np.zeros(3), np.zeros((2, 2), answers.ROW)):
        np.save(file, other)
        with pytest.raises(answers.AnswersError, match="holds no answers"):
            answers.read(file)
    np.save(file, np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(answers.AnswersError, match="cannot be read"):
        answers.read(file)


def planted() -> tuple[dict[str, list[Record]], set[str]]:
    """Coloured squares, of which one in twenty of train and validation has the label of another colour."""
    places = [(label, number) for label in range(3) for number in range(60)]
    learnt = [place for place in places if place[1] >= 4]
    chosen = np.random.default_rng(3).choice(len(learnt), len(learnt) // 20, replace=False)
    wrong = {learnt[index] for index in chosen}
    parts: dict[str, list[Record]] = {"train": [], "validation": [], "test": []}
    for label, number in places:
        part = "test" if number < 4 else "validation" if number < 16 else "train"
        named = LABELS[(label + ((label, number) in wrong)) % 3]
        data = encoded(draw(label, number))
        parts[part].append(Record(f"{label}/{number}", named, lambda data=data: data))
    return parts, {f"{label}/{number}" for label, number in wrong}


def test_planted_wrong_labels_come_first(tmp_path):
    """By a network that was trained on them, wrong labels included."""
    parts, wrong = planted()
    data = Dataset(labels=LABELS, **parts, fingerprint="", unreadable={}, near_duplicates=0)
    recipe = Recipe(
        architecture="squeezenet1_1", image_size=32, photo_size=32, epochs=6, batch_size=16, learning_rate=1e-3,
        head_learning_rate=1e-3, average=0, batch_norm="trained", weights="random",
    )  # fmt: skip
    torch.manual_seed(0)
    net = catalogue.create(recipe.as_architecture(), label_count=3)
    preprocessing = Preprocessing(resize=32, crop=32)
    fit = Fit(net, data, recipe, preprocessing, work=tmp_path)
    assert len(list(fit.epochs())) == 6
    net.load_state_dict(fit.best["weights"])
    torch.use_deterministic_algorithms(False)
    names, rows = [], []
    for part in ("train", "validation"):
        logits = logits_of(torch_forward(net), parts[part], preprocessing)
        ids = range(len(names), len(names) + len(parts[part]))
        rows.append(answers.rows(np.exp(log_softmax(logits)), np.array(data.answers(parts[part])), ids, part=part))
        names += [record.name for record in parts[part]]
    found = [names[row["photo"]] for row in answers.in_order(rows)]
    first = found[: len(wrong)]
    assert len(wrong) == 8 and len(wrong & set(first)) >= 7

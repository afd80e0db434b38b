"""The report before any training: planted faults are told as they are, by name."""

from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from classifier.guard import Refused
from classifier.look import look
from classifier.sources import folder
from tests.photos import draw, encoded
from trainer.duplicates import of_look
from trainer.ingest.layout import recognise
from trainer.ingest.store import Photo, Unreadable
from trainer.report import Content, examine

pytestmark = pytest.mark.alone

FRACTIONS = (0.8, 0.1, 0.1)


def put(place: Path, name: str, data: bytes) -> None:
    (place / name).parent.mkdir(parents=True, exist_ok=True)
    (place / name).write_bytes(data)


def fill(place: Path, label: str, count: int = 10, seed: int | None = None) -> None:
    for number in range(count):
        put(place, f"{label}/{number}.png", encoded(draw(sum(map(ord, label)) if seed is None else seed, number)))


def examined(place: Path, **rename: str) -> Content:
    """As an import does it, without the sandboxes."""
    layout = recognise(folder.listing(place), rename)
    photos: list[Photo] = []
    unreadable: list[Unreadable] = []
    for record in layout.records:
        try:
            data = record.read()
            seen = look(data)
        except Refused as refused:
            unreadable.append(Unreadable(record.name, record.label, refused.code, refused.sentence))
            continue
        digest = record.name.encode().ljust(32)
        print_ = of_look(seen.pixels, seen.thumbnail)
        photos.append(
            Photo(record.name, record.label, record.part, digest, ".png", len(data), seen.width, seen.height, print_)
        )
    return examine(layout, photos, unreadable, seed=1, fractions=FRACTIONS)


def empty_label(place: Path) -> None:
    (place / "empty").mkdir()


def one_photo(place: Path) -> None:
    fill(place, "lone", 1)


def two_photos(place: Path) -> None:
    fill(place, "pair", 2)


def three_copies(place: Path) -> None:
    for number in range(3):
        put(place, f"copies/{number}.png", encoded(draw(7, 1)))


def one_unreadable_of_few(place: Path) -> None:
    put(place, "chow/broken.png", b"not a picture")


def most_unreadable(place: Path) -> None:
    for number in range(30):
        put(place, f"chow/broken{number}.png", encoded(draw(0, number))[:-40])


def label_unreadable(place: Path) -> None:
    fill(place, "chow", 100)
    put(place, "bad/0.png", b"")


def one_by_one(place: Path) -> None:
    put(place, "chow/dot.png", encoded(Image.new("RGB", (1, 1))))


REFUSED: dict[str, tuple[Callable[[Path], None], str]] = {
    "an empty label": (empty_label, "The label 'empty' has no photo: its folder is empty."),
    "a label of one photo": (one_photo, "The label 'lone' has 1 distinct photo (1 file): at least 3 are needed"),
    "a label of two photos": (two_photos, "The label 'pair' has 2 distinct photos (2 files)"),
    "a label of one photo three times": (three_copies, "The label 'copies' has 1 distinct photo (3 files)"),
    "1 of 21 unreadable": (one_unreadable_of_few, "1 of 21 photos cannot be read, more than 1 in 100"),
    "60 % unreadable": (most_unreadable, "30 of 50 photos cannot be read"),
    "a label of which nothing can be read": (label_unreadable, "Not one photo of the label 'bad' can be read."),
    "a picture of one pixel": (one_by_one, "dot.png: This picture is 1 x 1 pixels; each side needs at least 32."),
}


@pytest.mark.parametrize("fault", REFUSED)
def test_what_cannot_be_trained_on_is_refused_by_name(fault: str, tmp_path: Path):
    plant, sentence = REFUSED[fault]
    for label in ("chow", "pug"):
        fill(tmp_path, label)
    plant(tmp_path)
    content = examined(tmp_path)
    assert any(sentence in refusal for refusal in content.refusals), content.refusals


def test_one_label_alone_is_refused(tmp_path):
    fill(tmp_path, "pug")
    assert examined(tmp_path).refusals == ["There is one label alone, 'pug': a network needs two to tell apart."]


def test_nothing_usable_is_refused(tmp_path):
    put(tmp_path, "pug/1.png", b"")
    assert examined(tmp_path).refusals == ["Not one of the photos can be read."]


def test_one_unreadable_photo_in_a_hundred_is_left_out_and_named(tmp_path):
    fill(tmp_path, "chow", 60)
    fill(tmp_path, "pug", 60)
    put(tmp_path, "pug/broken.png", b"GIF89a and more")
    content = examined(tmp_path)
    assert content.refusals == []
    assert content.report["warnings"] == ["1 photo cannot be read and is left out."]
    ((name, code, sentence),) = content.report["unreadable"]["listed"]
    assert (name, code) == ("pug/broken.png", "unsupported_format") and "GIF" in sentence
    assert len(content.photos) == 120


def test_what_systems_leave_behind_is_not_counted(tmp_path):
    for label in ("chow", "pug"):
        fill(tmp_path, label)
    for name in (".DS_Store", "Thumbs.db", "._1.jpg", "__MACOSX/pug/._2.jpg"):
        put(tmp_path, f"pug/{name}" if "/" not in name else name, b"junk")
    content = examined(tmp_path)
    assert content.refusals == [] and content.report["warnings"] == []
    assert content.report["unreadable"]["count"] == content.report["outside"]["count"] == 0


@pytest.mark.parametrize("label", ["<script>alert(1)<", "été 犬", 'it\'s a "dog"', "=1+1"])
def test_names_are_kept_as_they_are(label: str, tmp_path: Path):
    fill(tmp_path, label)
    fill(tmp_path, "pug")
    assert label in examined(tmp_path).labels


def test_the_same_picture_under_two_labels_is_told(tmp_path):
    fill(tmp_path, "chow")
    fill(tmp_path, "pug")
    put(tmp_path, "pug/again.png", (tmp_path / "chow/3.png").read_bytes())
    content = examined(tmp_path)
    assert content.report["conflicts"] == {"count": 1, "listed": [[["chow/3.png", "chow"], ["pug/again.png", "pug"]]]}
    assert "1 picture is there under two labels or more." in content.report["warnings"]
    assert content.flags.count("conflict") == 2
    first, second = (index for index, flag in enumerate(content.flags) if flag)
    assert content.parts[first] == content.parts[second]


def test_exact_and_near_duplicates_are_counted_apart(tmp_path):
    fill(tmp_path, "chow")
    fill(tmp_path, "pug")
    put(tmp_path, "chow/copy.png", (tmp_path / "chow/0.png").read_bytes())
    put(tmp_path, "pug/near.jpg", encoded(draw(sum(map(ord, "pug")), 0), "JPEG", quality=90))
    report = examined(tmp_path).report
    assert (report["copies"], report["near"]) == (1, 1)
    assert report["groups"]["listed"] == [["chow/0.png", "chow/copy.png"], ["pug/0.png", "pug/near.jpg"]]


def test_files_of_other_kinds_are_counted_and_named(tmp_path):
    fill(tmp_path, "chow")
    fill(tmp_path, "pug")
    put(tmp_path, "pug/photo.heic", b"x")
    report = examined(tmp_path).report
    assert report["unread"] == {"count": 1, "listed": ["pug/photo.heic"]}
    assert report["warnings"] == [
        "1 file or folder not read: no JPEG, PNG or WebP by the name, a link, hidden, or too deep."
    ]


def test_20_to_1_is_told(tmp_path):
    fill(tmp_path, "chow", 60)
    fill(tmp_path, "pug", 3)
    assert examined(tmp_path).report["warnings"] == [
        "The label 'chow' has 20 times the photos of 'pug': class weights or oversampling help."
    ]


def test_a_test_set_that_overlaps_training_is_flagged_and_kept(tmp_path):
    for label in ("chow", "pug"):
        fill(tmp_path, f"train/{label}", 10)
        fill(tmp_path, f"test/{label}", 4, seed=ord(label[0]))
    put(tmp_path, "test/pug/leak.png", (tmp_path / "train/pug/0.png").read_bytes())
    content = examined(tmp_path)
    assert content.report["crossing"]["listed"] == [[["test/pug/leak.png", "test"], ["train/pug/0.png", "train"]]]
    assert any("figures measured there are too high" in line for line in content.report["warnings"])
    assert content.parts.count("test") == 9 and content.parts.count("validation") == 2
    assert "Taken from its training photos by seed 1: validation (11.1 %)." in content.report["division"]


def test_a_label_that_a_part_of_the_source_lacks_is_told(tmp_path):
    for label in ("chow", "pug", "husky"):
        fill(tmp_path, f"train/{label}", 10)
    fill(tmp_path, "test/chow", 4, seed=99)
    content = examined(tmp_path)
    assert content.refusals == []
    assert content.report["warnings"] == [
        "2 labels, such as 'husky', have no photo for test: no figure measured there tells of that."
    ]


def test_counts_and_sizes_are_stated(tmp_path):
    fill(tmp_path, "chow")
    fill(tmp_path, "pug")
    put(tmp_path, "pug/large.png", encoded(draw(1, 77, side=200).resize((300, 200))))
    put(tmp_path, "stray.png", encoded(draw(0, 0)))
    report = examined(tmp_path).report
    assert report["sides"] == {"smallest": 32, "median": 32, "longest": 300}
    assert report["labels"][1] == {
        "label": "pug", "photos": 11, "distinct": 11, "train": 9, "validation": 1, "test": 1
    }  # fmt: skip
    assert report["outside"] == {"count": 1, "listed": ["stray.png"]}
    assert report["warnings"] == ["1 photo has no label in this layout, and nothing was read of it."]
    assert (report["copies"], report["near"], report["photos"]) == (0, 0, 21)


def test_a_label_too_small_beside_supplied_parts_is_refused(tmp_path):
    for label in ("chow", "pug"):
        fill(tmp_path, f"train/{label}", 10 if label == "chow" else 1)
        fill(tmp_path, f"test/{label}", 4, seed=ord(label[0]))
    (refusal,) = examined(tmp_path).refusals
    assert refusal.startswith("The label 'pug' has 1 distinct photos to train: at least 2 are needed")

"""How sources are laid out, and what is recognised in them."""

import zipfile
from pathlib import Path

import pytest

from classifier.guard import Refused
from classifier.sources import folder
from classifier.sources.listing import SourceError
from tests.archives import PHOTO, photos, write_zip
from tests.photos import draw, encoded, write_photos
from trainer.ingest import source, table
from trainer.ingest.layout import Layout, recognise

pytestmark = pytest.mark.alone


def layout(tmp_path: Path, members: dict[str, bytes], **rename: str) -> Layout:
    return source.layout(write_zip(tmp_path / "a.zip", members), rename)


def facts(found: Layout) -> set[tuple[str, str, str | None]]:
    return {(record.name, record.label, record.part) for record in found.records}


def test_a_folder_gives_its_photos_with_the_names_of_their_folders(tmp_path):
    found = source.layout(write_photos(tmp_path / "photos", count=3))
    assert [record.name for record in found.records][:2] == ["chow/0.png", "chow/1.png"]
    assert {record.label for record in found.records} == {"chow", "pug"}
    assert found.records[0].read() == encoded(draw(0, 0))
    assert found.sentence == "Class folders: each folder is named by its label."


def test_a_zip_gives_the_same_records_as_the_folder(tmp_path):
    folder = write_photos(tmp_path / "photos", count=3)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as out:
        for file in folder.rglob("*.png"):
            out.write(file, file.relative_to(folder))
    from_folder = [(r.name, r.label, r.read()) for r in source.records(folder)]
    from_zip = [(r.name, r.label, r.read()) for r in source.records(tmp_path / "photos.zip")]
    assert from_zip == from_folder


def test_a_single_folder_around_the_others_is_passed_through_and_said(tmp_path):
    found = layout(tmp_path, {"data/dogs/pug/1.png": PHOTO, "data/dogs/chow/1.png": PHOTO})
    assert facts(found) == {("chow/1.png", "chow", None), ("pug/1.png", "pug", None)}
    assert "The folder data/dogs around them was passed through." in found.sentence


@pytest.mark.parametrize("stray", ["animals/README.txt", "translate.py"])
def test_files_that_are_no_photos_hide_no_folder_around_the_photos(tmp_path, stray):
    found = layout(tmp_path, {"animals/cat/1.png": PHOTO, "animals/dog/1.png": PHOTO, stray: b"text"})
    assert facts(found) == {("cat/1.png", "cat", None), ("dog/1.png", "dog", None)}


@pytest.mark.parametrize("place", ["top/labels.csv", "labels.csv"])
@pytest.mark.parametrize("prefix", ["", "top/"])
def test_a_table_within_the_folder_around_the_photos_or_beside_it_is_read(tmp_path, place, prefix):
    rows = f"path,label\n{prefix}a/1.png,pug\n{prefix}b/1.png,chow\n".encode()
    found = layout(tmp_path, {"top/a/1.png": PHOTO, "top/b/1.png": PHOTO, place: rows})
    assert facts(found) == {("a/1.png", "pug", None), ("b/1.png", "chow", None)}


def test_folders_of_parts_are_kept(tmp_path):
    members = {
        f"top/{part}/{label}/1.png": PHOTO for part in ("training", "Valid", "test") for label in ("chow", "pug")
    }
    found = layout(tmp_path, members)
    assert {(record.label, record.part) for record in found.records} == {
        (label, part) for label in ("chow", "pug") for part in ("train", "validation", "test")
    }
    assert ": train 2, validation 2, test 2." in found.sentence and found.supplied_parts


def test_a_label_may_be_called_test_where_no_train_is(tmp_path):
    found = layout(tmp_path, {"test/1.png": PHOTO, "pug/1.png": PHOTO})
    assert {record.label for record in found.records} == {"test", "pug"} and not found.supplied_parts


def test_photos_beside_the_class_folders_are_outside(tmp_path):
    found = layout(tmp_path, photos() | {"1.png": PHOTO, "pug/deep/er/1.png": PHOTO})
    assert found.outside == ["1.png", "pug/deep/er/1.png"]


def test_foreign_names_are_renamed_by_a_table_and_the_rest_is_said(tmp_path):
    found = layout(tmp_path, photos(("cane", "gatto")), cane="dog", mucca="cow")
    assert {record.label for record in found.records} == {"dog", "gatto"}
    assert found.notes == (
        "1 of 2 labels were renamed by the table.",
        "1 names of the table occur nowhere, such as 'mucca'.",
    )


def test_a_renaming_table_has_two_columns():
    assert table.renaming(b"from,to\ncane,dog\n") == {"cane": "dog"}
    assert table.renaming("folder;label\nécureuil; squirrel\n".encode()) == {"écureuil": "squirrel"}
    for wrong in (b"", b"cane\n", b"a,b,c\n"):
        with pytest.raises(SourceError, match="two columns"):
            table.renaming(wrong)


def test_the_kaggle_layout_is_a_table_beside_train(tmp_path):
    members = {f"train/{number}.png": PHOTO for number in range(3)} | {"test/9.png": PHOTO}
    members["labels.csv"] = b"id,breed\n0,pug\n1,chow\n2,pug\n"
    members["sample_submission.csv"] = b"id,affenpinscher,pug\n9,0.5,0.5\n"
    found = layout(tmp_path, members)
    assert facts(found) == {("train/0.png", "pug", None), ("train/1.png", "chow", None), ("train/2.png", "pug", None)}
    assert found.outside == ["test/9.png"]
    assert "Labels from labels.csv: the column 'breed'" in found.sentence


def test_any_table_of_path_and_label_and_part(tmp_path):
    members = {f"images/{number}.png": PHOTO for number in range(3)}
    members["index.csv"] = b"label;path;split\npug;images/0.png;train\nchow;./images/1.png;val\npug;2.png;test\n"
    assert facts(layout(tmp_path, members)) == {
        ("images/0.png", "pug", "train"),
        ("images/1.png", "chow", "validation"),
        ("images/2.png", "pug", "test"),
    }


def test_rows_without_a_photo_are_said(tmp_path):
    members = {"0.png": PHOTO, "1.png": PHOTO, "a.csv": b"file,label\n0.png,pug\n1.png,chow\n7.png,pug\n"}
    assert "1 of its rows name no photo here, such as '7.png'." in layout(tmp_path, members).sentence


def test_a_row_with_a_folder_names_no_photo_of_another_folder(tmp_path):
    members = {"a/1.png": PHOTO, "a/2.png": PHOTO, "all.csv": b"path,label\na/1.png,pug\nb/1.png,chow\na/2.png,chow\n"}
    found = layout(tmp_path, members)
    assert facts(found) == {("a/1.png", "pug", None), ("a/2.png", "chow", None)}
    assert "1 of its rows name no photo here, such as 'b/1.png'." in found.sentence


def test_a_row_may_name_the_end_of_a_path(tmp_path):
    members = {"x/a/1.png": PHOTO, "y/b/1.png": PHOTO, "all.csv": b"path,label\na/1.png,pug\nb\\1,chow\n"}
    assert facts(layout(tmp_path, members)) == {("x/a/1.png", "pug", None), ("y/b/1.png", "chow", None)}


@pytest.mark.parametrize(
    "rows",
    [
        "filepath,labels\nall/0.png,pug\nall/1.png,chow\n",
        "image_path;Label Name\n0.png;pug\n1.png;chow\n",
        ",image_name,sort of dog\n0,0.png,pug\n1,1.png,chow\n".replace("sort of dog", "Variety"),
        "what,where\npug,0\nchow,1\n",
        "all/0.png\tpug\nall/1.png\tchow\n",
        "class id,filepaths,labels,data set\n0,all/0.png,pug,train\n1,all/1.png,chow,train\n",
    ],
)
def test_the_columns_are_found_by_what_is_in_them(tmp_path, rows):
    found = layout(tmp_path, {"all/0.png": PHOTO, "all/1.png": PHOTO, "x.csv": rows.encode()})
    assert {(record.name, record.label) for record in found.records} == {("all/0.png", "pug"), ("all/1.png", "chow")}


def test_a_table_that_does_not_tell_its_labels_is_said_with_the_names_that_are_understood(tmp_path):
    table = b"file,wide,high\n0.png,32,32\n1.png,32,32\n"
    with pytest.raises(
        SourceError, match=r"x\.csv names photos \('file'\).*\('wide', 'high'\).* names label, labels, breed"
    ):
        layout(tmp_path, {"all/0.png": PHOTO, "all/1.png": PHOTO, "x.csv": table})
    found = layout(tmp_path, photos() | {"x.csv": table})
    assert found.sentence.startswith("Class folders") and found.notes == ()


@pytest.mark.parametrize(
    "rows",
    [
        "".join(f"chow/{number}.png,a photo of number {number}\n" for number in range(12)),
        "".join(f"chow/{number // 2}.png,{('leg', 'ear')[number % 2]}\n" for number in range(12)),
    ],
)
def test_a_table_of_other_facts_beside_class_folders_is_noted_and_passed_over(tmp_path, rows):
    found = layout(tmp_path, photos(count=12) | {"captions.csv": f"path,caption\n{rows}".encode()})
    assert found.sentence.startswith("Class folders")
    assert found.notes[0].startswith("captions.csv names photos ('path'), and does not tell which")


def test_a_table_about_something_else_is_passed_over(tmp_path):
    found = layout(tmp_path, photos() | {"a.csv": b"name,label\nbella,good\nrex,bad\nfido,bad\n"})
    assert found.sentence.startswith("Class folders")


def test_two_labels_for_one_photo_are_refused(tmp_path):
    with pytest.raises(SourceError, match=r"two things of 0\.png"):
        layout(tmp_path, {"0.png": PHOTO, "a.csv": b"file,label\n0.png,pug\n0.png,chow\n"})


def test_labels_in_two_capitals_are_kept_apart_and_told(tmp_path):
    found = layout(tmp_path, photos(("Pug", "pug")))
    assert found.notes == ("The labels 'Pug' and 'pug' differ in capitals alone, and are kept apart.",)


@pytest.mark.parametrize("label", ["", "  ", "..", "a\nb", "x" * 201])
def test_a_label_that_is_no_name_is_refused(tmp_path, label: str):
    with pytest.raises(SourceError) as refusal:
        layout(tmp_path, photos(), pug=label)
    assert refusal.value.code == "bad_class_name"


def test_links_in_a_folder_are_not_followed(tmp_path):
    photos = write_photos(tmp_path / "photos", count=1)
    (tmp_path / "secret.png").write_bytes(PHOTO)
    (photos / "pug" / "link.png").symlink_to(tmp_path / "secret.png")
    (photos / "linked").symlink_to(tmp_path)
    found = source.layout(photos)
    assert [record.name for record in found.records] == ["chow/0.png", "pug/0.png"]
    assert (found.unread, found.empty) == (["linked", "pug/link.png"], [])


OTHER = ["chow/a.gif", "chow/b.HEIC", "pug/c.bmp", "pug/inner.zip"]
SILENT = ["README", "LICENSE.md", "notes.txt", "a.csv", "b.json", "load.py", ".gitkeep", "pug/.DS_Store", "Thumbs.db"]


def test_what_is_not_read_is_listed_by_name_in_a_folder_as_in_a_zip(tmp_path):
    members = photos() | dict.fromkeys([*OTHER, *SILENT], b"x")
    assert layout(tmp_path, members).unread == OTHER
    members |= dict.fromkeys(["pug/.cache/1.png", "a/b/c/d/e/f/g/h/i/1.png"], PHOTO)
    for name, data in members.items():
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / name).write_bytes(data)
    assert source.layout(tmp_path / "in").unread == sorted([*OTHER, "pug/.cache", "a/b/c/d/e/f/g/h/i"])


def test_jfif_is_jpeg(tmp_path):
    assert len(layout(tmp_path, {"chow/1.jfif": PHOTO, "pug/1.JFIF": PHOTO}).records) == 2


def test_a_file_larger_than_a_photo_is_not_read(tmp_path):
    photos = write_photos(tmp_path / "photos", count=1)
    (photos / "pug" / "0.png").write_bytes(bytes(2000))
    records = recognise(folder.listing(photos, 1999)).records
    with pytest.raises(Refused) as refusal:
        records[1].read()
    assert refusal.value.code == "file_too_large"


def test_what_is_no_dataset_is_refused_in_words(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    write_zip(tmp_path / "flat.zip", {"1.png": PHOTO})
    for path, reason in (
        ("empty", "holds no photo"),
        ("text.zip", "not a zip archive but something else"),
        ("flat.zip", "holds no class folder"),
        ("nowhere.zip", "no file"),
    ):
        with pytest.raises(SourceError, match=reason):
            source.layout(tmp_path / path)

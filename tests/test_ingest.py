import struct
import zipfile
from pathlib import Path

import pytest

from tests.photos import draw, encoded, write_photos
from trainer.ingest import archive, folder, source
from trainer.ingest.record import SourceError

PHOTO = encoded(draw(0, 0))


def make_zip(file: Path, members: dict[str, bytes], **options) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file


def test_a_folder_gives_its_photos_with_the_names_of_their_folders(tmp_path):
    found = list(folder.records(write_photos(tmp_path / "photos", count=3)))
    assert [record.name for record in found][:2] == ["chow/0.png", "chow/1.png"]
    assert {record.label for record in found} == {"chow", "pug"}
    assert found[0].read() == encoded(draw(0, 0))


def test_a_zip_gives_the_same_records_as_the_folder(tmp_path):
    photos = write_photos(tmp_path / "photos", count=3)
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as out:
        for file in photos.rglob("*.png"):
            out.write(file, file.relative_to(photos))
    from_folder = [(r.name, r.label, r.read()) for r in source.records(photos)]
    from_zip = [(r.name, r.label, r.read()) for r in source.records(tmp_path / "photos.zip")]
    assert from_zip == from_folder


def test_a_single_folder_around_the_class_folders_is_passed_through(tmp_path):
    file = make_zip(tmp_path / "a.zip", {"dogs/pug/1.png": PHOTO, "dogs/chow/1.png": PHOTO})
    assert [record.label for record in archive.records(file)] == ["chow", "pug"]


def test_what_systems_leave_behind_is_passed_over(tmp_path):
    junk = {
        "__MACOSX/pug/._1.png": b"",
        "pug/.DS_Store": b"",
        "pug/._1.png": b"",
        "pug/Thumbs.db": b"",
        "pug/note.txt": b"",
    }
    file = make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO} | junk)
    assert [record.name for record in archive.records(file)] == ["pug/1.png"]


def test_links_in_a_folder_are_not_followed(tmp_path):
    photos = write_photos(tmp_path / "photos", count=1)
    (tmp_path / "secret.png").write_bytes(PHOTO)
    (photos / "pug" / "link.png").symlink_to(tmp_path / "secret.png")
    (photos / "linked").symlink_to(tmp_path)
    assert [record.name for record in folder.records(photos)] == ["chow/0.png", "pug/0.png"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../../evil.png", "leads outside"),
        ("/etc/evil.png", "leads outside"),
        ("C:/evil.png", "leads outside"),
        ("pug\\..\\evil.png", "unusable name"),
        ("a/" * 9 + "1.png", "deeper than 8"),
        ("pug/" + "x" * 256 + ".png", "longer than 255"),
    ],
)
def test_an_archive_with_such_a_member_is_refused_with_its_name(tmp_path, name: str, reason: str):
    file = make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO, name: PHOTO})
    with pytest.raises(SourceError, match=reason):
        list(archive.records(file))


def test_a_name_that_occurs_twice_is_refused(tmp_path):
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("pug/1.png", PHOTO)
        out.writestr("pug/1.png", PHOTO)
    with pytest.raises(SourceError, match="occurs twice"):
        list(archive.records(tmp_path / "a.zip"))


def test_names_that_differ_in_case_alone_are_refused(tmp_path):
    with pytest.raises(SourceError, match="occurs twice"):
        list(archive.records(make_zip(tmp_path / "a.zip", {"pug/A.png": PHOTO, "pug/a.png": PHOTO})))


def test_a_link_is_refused(tmp_path):
    link = zipfile.ZipInfo("pug/link.png")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(link, "/etc/passwd")
    with pytest.raises(SourceError, match="a link or a device"):
        list(archive.records(tmp_path / "a.zip"))


def test_a_member_that_swells_is_refused(tmp_path):
    with pytest.raises(SourceError, match="200 times its packed size"):
        list(archive.records(make_zip(tmp_path / "a.zip", {"pug/1.png": bytes(5_000_000)})))


def test_a_member_larger_than_a_photo_may_be_is_refused(tmp_path):
    file = make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO})
    with pytest.raises(SourceError, match="more than 10"):
        list(archive.records(file, archive.ZipLimits(max_member_bytes=10)))


def test_the_sum_and_the_number_of_members_are_limited(tmp_path):
    file = make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO, "pug/2.png": PHOTO})
    with pytest.raises(SourceError, match="unpacks to"):
        list(archive.records(file, archive.ZipLimits(max_total_bytes=len(PHOTO))))
    with pytest.raises(SourceError, match="2 members"):
        list(archive.records(file, archive.ZipLimits(max_members=1)))


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """Two entries of the directory point to one member: the trick of a zip bomb without recursion (CVE-2024-0450)."""
    data = bytearray(make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO, "pug/2.png": PHOTO}).read_bytes())
    second = data.rindex(b"PK\x01\x02")
    data[second + 42 : second + 46] = struct.pack("<I", 0)  # offset of its local header
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(SourceError, match="overlaps"):
        list(archive.records(tmp_path / "b.zip"))


def test_an_encrypted_member_is_refused(tmp_path):
    data = bytearray(make_zip(tmp_path / "a.zip", {"pug/1.png": PHOTO}).read_bytes())
    data[data.rindex(b"PK\x01\x02") + 8] |= 1
    (tmp_path / "b.zip").write_bytes(data)
    with pytest.raises(SourceError, match="encrypted"):
        list(archive.records(tmp_path / "b.zip"))


def test_a_damaged_member_is_named_when_it_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr("pug/1.png", PHOTO)
    data = (tmp_path / "a.zip").read_bytes().replace(PHOTO, PHOTO[:-1] + b"x")
    (tmp_path / "a.zip").write_bytes(data)
    (record,) = archive.records(tmp_path / "a.zip")
    with pytest.raises(SourceError, match=r"pug/1\.png.*cannot be read"):
        record.read()


def test_what_is_no_dataset_is_refused_in_words(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.zip").write_text("not a zip")
    make_zip(tmp_path / "flat.zip", {"1.png": PHOTO})
    for path, reason in (
        ("empty", "holds no folder"),
        ("text.zip", "not a readable zip"),
        ("flat.zip", "holds no class folder"),
        ("nowhere.zip", "no file"),
    ):
        with pytest.raises(SourceError, match=reason):
            list(source.records(tmp_path / path))

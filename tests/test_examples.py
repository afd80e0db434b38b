import io
import os
from pathlib import Path

import pytest
from django.test import Client
from PIL import Image

from classifier import examples
from tests.corpus import CASES, OK
from tests.pictures import encode, smooth

MARKER = b"a-marker-that-no-encoder-writes"


@pytest.fixture
def folder(settings, tmp_path: Path) -> Path:
    settings.EXAMPLES_DIR = tmp_path / "examples"
    settings.EXAMPLES_DIR.mkdir()
    return settings.EXAMPLES_DIR


def put(folder: Path, name: str, seed: int = 0) -> Path:
    file = folder / name
    file.write_bytes(encode(smooth(seed)))
    return file


def pictures(folder: Path) -> list[bytes]:
    return list(examples.gather(examples.from_folder(folder)).values())


def address(folder: Path) -> str:
    """Of its first example."""
    return f"/examples/{next(iter(examples.gather(examples.from_folder(folder))))}.jpg"


def is_jpeg_of(data: bytes, seed: int) -> bool:
    """The mean colour of a re-encoded picture stays that of its source."""
    want, got = (picture.resize((1, 1)).getpixel((0, 0)) for picture in (smooth(seed), Image.open(io.BytesIO(data))))
    return data[:2] == b"\xff\xd8" and max(abs(a - b) for a, b in zip(want, got, strict=True)) < 8


def test_no_folder_gives_no_examples():
    assert list(examples.from_folder(None)) == []


def test_a_missing_folder_is_said_in_the_log(tmp_path, caplog):
    assert list(examples.from_folder(tmp_path / "nowhere")) == []
    assert "nowhere" in caplog.text


def test_pictures_come_by_name_and_other_files_do_not(folder):
    for name in ("b.JPG", "a.png", "c.webp", "notes.txt", ".hidden"):
        put(folder, name)
    assert [one.name for one in examples.from_folder(folder)] == ["a.png", "b.JPG", "c.webp"]


def test_a_file_that_is_no_photo_is_left_out_and_logged_once(folder, caplog):
    put(folder, "1.jpg", seed=1)
    (folder / "2.jpg").write_bytes(b"not a photo")
    put(folder, "3.jpg", seed=3)
    for _ in range(3):
        first, second = pictures(folder)
    assert is_jpeg_of(first, 1) and is_jpeg_of(second, 3)
    assert caplog.text.count("2.jpg") == 1


def test_a_file_that_vanished_is_left_out(folder, caplog):
    found = examples.from_folder(put(folder, "gone.jpg", seed=8).parent)
    (folder / "gone.jpg").unlink()
    assert examples.gather(found) == {}
    assert examples.from_file(folder / "gone.jpg") is None
    assert caplog.text.count("picture gone.jpg") == 2


def test_a_second_source_follows_the_first_up_to_the_limit(folder):
    found = [examples.from_file(put(folder, f"{number:02}.jpg", number)) for number in range(examples.MOST + 4)]
    copies = list(examples.gather(found[5:7], found[:5] + found[7:]).values())
    assert len(copies) == examples.MOST
    assert is_jpeg_of(copies[0], 5) and is_jpeg_of(copies[2], 0)


def test_another_photo_under_the_same_name_is_seen(folder):
    file = put(folder, "1.jpg", seed=1)
    [(id, data)] = examples.gather(examples.from_folder(folder)).items()
    assert is_jpeg_of(data, 1)
    put(folder, "1.jpg", seed=9)
    os.utime(file, ns=(1, 1))
    [(other, data)] = examples.gather(examples.from_folder(folder)).items()
    assert is_jpeg_of(data, 9) and other != id


def test_an_example_is_served_as_a_copy_that_no_browser_runs(client: Client, folder):
    put(folder, "x.jpg", seed=2)
    response = client.get(address(folder))
    assert response.status_code == 200
    assert is_jpeg_of(response.content, 2)
    assert response.headers["Content-Type"] == "image/jpeg"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
    assert response.headers["Cache-Control"].startswith("private")
    assert client.head(address(folder)).status_code == 200


@pytest.mark.parametrize("name", sorted(name for name, case in CASES.items() if case.codes == {OK}))
def test_nothing_but_pixels_of_a_file_is_served(client: Client, folder, name: str):
    """Metadata, comments, profiles and what hangs behind the picture stay with the operator."""
    (folder / "1.jpg").write_bytes(CASES[name].data + MARKER)
    response = client.get(address(folder))
    assert response.status_code == 200
    assert MARKER not in response.content
    for trace in (b"Exif", b"http://ns.adobe", b"ICC_PROFILE", b"<script", b"<svg", b"PK\x03\x04"):
        assert trace not in response.content


@pytest.mark.parametrize(
    "id", ["0", "1", "01", "99999999999999999999", "-1", "1.0", "01x", "..%2f1", "%2e%2e/%2e%2e/etc/passwd"]
)
def test_nothing_but_the_id_of_an_example_is_an_address(client: Client, folder, id: str):
    put(folder, "1.jpg")
    assert client.get(f"/examples/{id}.jpg").status_code == 404


def test_only_reading_is_allowed(client: Client, folder):
    put(folder, "1.jpg")
    assert client.post(address(folder)).status_code == 405

"""Forms in memory, against Django's own parser of streams."""

import contextlib
from io import BytesIO

import pytest
from django.core.files.uploadhandler import MemoryFileUploadHandler
from django.http.multipartparser import MultiPartParser, MultiPartParserError
from hypothesis import given
from hypothesis import strategies as st

from classifier import multipart
from classifier.multipart import Malformed
from tests.live import BOUNDARY, FORM, form, part

pytestmark = pytest.mark.alone

NAMES = st.text(st.characters(codec="ascii", exclude_characters='"\\\r\n', exclude_categories=["Cc"]), min_size=1)


def read(body: bytes) -> list[tuple[str, bytes]]:
    return [(part.name, part.data) for part in multipart.parts(body, BOUNDARY.encode())]


def as_django_reads(body: bytes) -> list[tuple[str, bytes]]:
    handler = MemoryFileUploadHandler()
    headers = {"CONTENT_TYPE": FORM, "CONTENT_LENGTH": str(len(body))}
    fields, files = MultiPartParser(headers, BytesIO(body), [handler], "latin-1").parse()
    read = [(name, value.encode("latin-1")) for name, values in fields.lists() for value in values]
    return read + [(name, file.read()) for name, several in files.lists() for file in several]


@given(st.lists(st.tuples(NAMES.map(str.strip).filter(bool), st.binary(), st.booleans()), max_size=6))
def test_it_reads_what_django_reads(parts):
    body = form(*[part(name, data, file="dog.jpg" if file else None) for name, data, file in parts])
    assert sorted(read(body)) == sorted(as_django_reads(body))


@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused(data: bytes):
    for body in (data, f"--{BOUNDARY}\r\n".encode() + data, form(part("image", data))[: len(data)]):
        with contextlib.suppress(Malformed):
            read(body)


@given(st.integers(0, 200))
def test_a_form_cut_anywhere_is_refused(length: int):
    body = form(part("image", b"\r\n--\r\n" * 20))
    cut = body[: min(length, len(body) - 5)]
    with pytest.raises(Malformed):
        read(cut)


@pytest.mark.parametrize(
    ("disposition", "name", "is_file", "chosen"),
    [
        ('form-data; name="image"; filename="a.jpg"', "image", True, True),
        ("form-data; name=image; filename=a.jpg", "image", True, True),
        ('FORM-DATA; NAME="image"; FileName="a.jpg"', "image", True, True),
        ("form-data; name=\"image\"; filename*=UTF-8''%e2%82%ac.jpg", "image", True, True),
        ('form-data; name="image"; filename=""', "image", True, False),
        ('form-data; filename="; name=\\"other\\""; name="image"', "image", True, True),
        ('form-data; name="image"', "image", False, False),
        ('form-data; name="ä"', "ä", False, False),
    ],
)
def test_the_disposition_says_what_a_part_is(disposition: str, name: str, is_file: bool, chosen: bool):
    body = f"--{BOUNDARY}\r\nContent-Type: x/y\r\nContent-Disposition: {disposition}\r\n\r\n\r\n--{BOUNDARY}--".encode()
    [found] = multipart.parts(body, BOUNDARY.encode())
    assert (found.name, found.is_file, found.data) == (name, is_file, b"")
    assert not is_file or found.chosen is chosen


@pytest.mark.parametrize(
    ("disposition", "filename"),
    [
        ('filename="a/b c.jpg"', "a/b c.jpg"),
        ("filename=a.jpg", "a.jpg"),
        ('filename="a%22b.jpg"', 'a"b.jpg'),
        ('filename="a\\"b;c.jpg"', 'a"b;c.jpg'),
        ("filename*=UTF-8''%e2%82%ac.jpg", "€.jpg"),
        ('filename="€.jpg"', "€.jpg"),
        ('filename=".."', ".."),
    ],
)
def test_a_file_has_the_name_that_a_person_gave_it(disposition: str, filename: str):
    head = f'Content-Disposition: form-data; name="files"; {disposition}'
    body = f"--{BOUNDARY}\r\n{head}\r\n\r\nx\r\n--{BOUNDARY}--".encode()
    [found] = multipart.parts(body, BOUNDARY.encode())
    assert found.filename == filename


def test_a_preamble_and_spaces_after_the_boundary_are_allowed():
    body = b"This is a form.\r\n" + form(part("a", b"1", file=None)).replace(b"tests\r\n", b"tests \t\r\n", 1)
    assert read(body) == [("a", b"1")]


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('multipart/form-data; boundary="x y"', b"x y"),
        ("Multipart/Form-Data; charset=utf-8; Boundary=x", b"x"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=" + "x" * 201, None),
        ("multipart/form-data; boundary=ä", None),
        ("text/plain; boundary=x", None),
    ],
)
def test_the_boundary_stands_in_the_content_type(content_type: str, boundary: bytes | None):
    if boundary is None:
        with pytest.raises(Malformed):
            multipart.boundary(content_type)
    else:
        assert multipart.boundary(content_type) == boundary


def test_a_hundred_thousand_parts_are_not_read_for_nothing():
    parts = multipart.parts(form(*[part("image", b"x")] * 100_000), BOUNDARY.encode())
    assert next(parts).name == "image"  # one after the other: who asks stops at the second


def test_django_refuses_the_same_nonsense():
    with pytest.raises(MultiPartParserError):
        MultiPartParser({"CONTENT_TYPE": "multipart/form-data", "CONTENT_LENGTH": "1"}, BytesIO(b"x"), [])

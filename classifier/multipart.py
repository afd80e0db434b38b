"""The parts of a form (RFC 7578), read from memory. Plain Python.

A photo's request is in memory as a whole before it is looked at, so a few searches find its parts, many times faster
than a parser of streams. Content types and transfer encodings are not read at all: the bytes of a photo say what it is.
The name of a file is text for people, and never a path.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import unquote

MAX_BOUNDARY = 200  # bytes; the standard says 70
MAX_HEADER = 8192  # bytes of the header of one part

BOUNDARY = re.compile(r'(?i)^multipart/form-data\s*(?:;.*)?;\s*boundary=(?:"([^"]+)"|([^\s";,]+))')
PARAMETER = re.compile(rb';\s*([A-Za-z]+)\*?\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')

ESCAPED = re.compile(r'\\(["\\])')


class Malformed(ValueError):
    """This is not a form."""


@dataclass(frozen=True)
class Part:
    name: str
    is_file: bool
    data: bytes
    chosen: bool = True  # False for a file field in which no file was chosen
    filename: str = ""


def boundary(content_type: str) -> bytes:
    """`multipart/form-data; boundary=x` -> b"x"; raises Malformed."""
    found = BOUNDARY.match(content_type)
    text = (found[1] or found[2]) if found else ""
    if not text or len(text) > MAX_BOUNDARY or not text.isascii():
        raise Malformed("the form has no boundary")
    return text.encode()


def parts(body: bytes, boundary: bytes) -> Iterator[Part]:
    """One after the other, so that who asks may stop at the second file. Raises Malformed where the form ends too early
    or a part has no name."""
    delimiter = b"\r\n--" + boundary
    position = 0 if body.startswith(delimiter[2:]) else body.find(delimiter) + 2
    if position == 1:
        raise Malformed("the form does not begin")
    position += len(delimiter) - 2
    while body[position : position + 2] != b"--":
        line_end = body.find(b"\r\n", position, position + MAX_HEADER)
        head_end = body.find(b"\r\n\r\n", line_end, line_end + MAX_HEADER)
        if line_end < 0 or head_end < 0 or body[position:line_end].strip(b" \t"):
            raise Malformed("a part has no header")
        start = head_end + 4
        # A part of no bytes ends with the line break that ended its header.
        end = body.find(delimiter, start - 2)
        if end < 0:
            raise Malformed("a part does not end")
        yield _part(body[line_end + 2 : head_end], body[start : max(start, end)])
        position = end + len(delimiter)


def _part(head: bytes, data: bytes) -> Part:
    for line in head.split(b"\r\n"):
        field, _, value = line.partition(b":")
        if field.strip().lower() == b"content-disposition":
            given = {name.lower(): value for name, value in PARAMETER.findall(value)}
            if b"name" in given:
                name = given[b"name"].strip().strip(b'"').decode("utf-8", "replace")
                file = given.get(b"filename")
                chosen = bool(data) or file not in {None, b"", b'""'}
            return Part(name, file is not None, data, chosen=chosen, filename=_text(file or b""))
    raise Malformed("a part has no name")


def _text(value: bytes) -> str:
    """A file's name as a person wrote it: browsers write a quote as %22, programs as \\", some use RFC 5987."""
    text = value.strip().decode("utf-8", "replace")
    if text.lower().startswith("utf-8''"):
        return unquote(text[7:])
    if text.startswith('"'):
        text = ESCAPED.sub(r"\1", text[1:-1]).replace("%22", '"')
    return text

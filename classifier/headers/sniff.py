"""Which format a file really has, by its first bytes: a file name and a content type are claims."""

from __future__ import annotations

# (offset, bytes) -> name; the first match wins.
SIGNATURES: tuple[tuple[int, bytes, str], ...] = (
    (0, b"\xff\xd8", "JPEG"),
    (0, b"\x89PNG\r\n\x1a\n", "PNG"),
    (8, b"WEBP", "WEBP"),
    (0, b"GIF8", "GIF"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
    (0, b"II+\0", "TIFF"),
    (0, b"MM\0+", "TIFF"),
    (0, b"BM", "BMP"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"%PDF-", "PDF"),
    (0, b"%!PS", "EPS"),
    (0, b"\xc5\xd0\xd3\xc6", "EPS"),
    (0, b"8BPS", "PSD"),
    (0, b"\0\0\0\x0cjP  ", "JPEG 2000"),
    (0, b"\xff\x4f\xff\x51", "JPEG 2000"),
    (0, b"\0\0\0\x0cJXL ", "JPEG XL"),
    (0, b"\xff\x0a", "JPEG XL"),
    (0, b"DDS ", "DDS"),
    (0, b"SIMPLE  =", "FITS"),
    (0, b"icns", "ICNS"),
    (0, b"PK\3\4", "ZIP"),
    (0, b"PK\5\6", "ZIP"),
    (0, b"\x1f\x8b", "GZIP"),
    (0, b"Rar!", "RAR"),
    (0, b"7z\xbc\xaf\x27\x1c", "7z"),
    (257, b"ustar", "TAR"),
    (4, b"ftyp", "MP4 video"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM video"),
)
BRANDS = {b"avif": "AVIF", b"avis": "AVIF"} | dict.fromkeys(
    (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIC"
)
ADVICE = {
    "HEIC": "iPhone HEIC is not supported; export as JPEG.",
    "AVIF": "AVIF is not supported; save the picture as JPEG, PNG or WebP.",
    "SVG": "SVG is a drawing, not a photo; send a JPEG, PNG or WebP.",
    "HTML": "This is a web page, not a photo; save the picture itself and send that.",
    "PDF": "PDF is a document, not a photo; export the picture as JPEG.",
    "ZIP": "This is a ZIP archive; unpack it and send one photo.",
}


def sniff(data: bytes) -> str | None:
    """The name of the format that the first bytes belong to, or None."""
    for offset, signature, name in SIGNATURES:
        if data.startswith(signature, offset) and (name != "WEBP" or data.startswith(b"RIFF")):
            return _brand(data) or name if name == "MP4 video" else name
    return _markup(data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip().lower())


def _brand(data: bytes) -> str | None:
    """AVIF and HEIC share the container of MP4; the major brand names them, or the compatible ones after it do."""
    listed = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
    brands = [listed[at : at + 4] for at in range(0, len(listed), 4) if at != 4]  # 4: the minor version
    return next((BRANDS[brand] for brand in brands if brand in BRANDS), None)


def _markup(head: bytes) -> str | None:
    if head.startswith(b"<?php"):
        return "PHP"
    if head.startswith((b"<!doctype html", b"<html", b"<head", b"<body", b"<script")):
        return "HTML"
    if head.startswith(b"<"):
        return "SVG" if b"<svg" in head else "HTML" if b"<html" in head else "XML"
    return None


def advice(detected: str | None) -> str:
    """A sentence for the person whose file has another format."""
    if detected is None:
        return "This is not a picture that can be read here; send a JPEG, PNG or WebP."
    return ADVICE.get(detected, f"{detected} is not supported; send a JPEG, PNG or WebP.")

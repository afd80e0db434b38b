"""The strange, damaged and malicious picture files that every door must answer as the table says.

Each case is made by code when it is first asked for, and kept for the session. Row numbers are those of the
requirements' list of 68; row 68 is not about bytes but about file names (`FILE_NAMES`), row 0 is what we added.
"""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from classifier.problems import PROBLEMS
from tests.pictures import (
    chunk,
    encode,
    exif,
    exif_bomb,
    exif_segment,
    exif_zero_denominator,
    find,
    inserted,
    noise,
    patched,
    png,
    png_bomb,
    png_of,
    random_bytes,
    riff,
    scan_bomb,
    segment,
    smooth,
    stored_as,
    turned_jpeg,
    webp_of,
    with_bad_checksum,
    with_flipped_bits,
    with_frame,
    without_tables,
    ycck,
)

OK = "ok"


@dataclass(frozen=True)
class Case:
    """A file, and the codes (or OK) that are right answers to it."""

    row: int
    name: str
    codes: frozenset[str]
    make: Callable[[], bytes]
    animated: bool = False

    @property
    def data(self) -> bytes:
        return _made(self.name)

    @property
    def statuses(self) -> set[int]:
        return {200 if code == OK else PROBLEMS[code][0] for code in self.codes}


CASES: dict[str, Case] = {}


@cache
def _made(name: str) -> bytes:
    return CASES[name].make()


def _add(row: int, name: str, codes: str, make: Callable[[], bytes], *, animated: bool = False) -> None:
    assert name not in CASES, name
    CASES[name] = Case(row, name, frozenset(codes.split()), make, animated)


BASE = smooth(1)  # 320 x 240
CORRUPT, CUT, COMPLEX, PIXELS, SHAPE = (
    "image_corrupt",
    "image_truncated",
    "image_too_complex",
    "image_too_many_pixels",
    "image_bad_shape",
)
SMALL, FORMAT = "image_too_small", "unsupported_format"


@cache
def base() -> bytes:
    return encode(BASE, quality=85)


@cache
def base_png() -> bytes:
    return encode(BASE, "PNG")


@cache
def big() -> bytes:
    return encode(noise(2), quality=85)


# --- good pictures, stored in every way that cameras, phones and programs know

_add(1, "ok_baseline.jpg", OK, base)
_add(2, "ok_progressive.jpg", OK, lambda: encode(BASE, quality=85, progressive=True))
_add(3, "ok_gray.jpg", OK, lambda: encode(BASE.convert("L")))
_add(4, "ok_cmyk.jpg", OK, lambda: encode(BASE.convert("CMYK")))
_add(4, "ok_ycck.jpg", OK, lambda: ycck(BASE))
for turn in range(1, 9):
    _add(4 + turn, f"ok_orient{turn}.jpg", OK, lambda turn=turn: turned_jpeg(BASE, turn))
_add(13, "exif_orient99.jpg", OK, lambda: turned_jpeg(BASE, 99))
_add(14, "png_eXIf_orient6.png", OK, lambda: png(np.asarray(stored_as(BASE, 6)), chunk(b"eXIf", exif(6))))
_add(15, "phone_mpo.jpg", OK, lambda: encode(BASE, "MPO", save_all=True, append_images=[smooth(3)]))
_add(16, "motion_photo.jpg", OK, lambda: base() + b"\0\0\0\x18ftypmp42" + random_bytes(2_000_000))
_add(17, "rgba.png", OK, lambda: encode(_faded(), "PNG"))
_add(18, "la.png", OK, lambda: encode(_faded().convert("LA"), "PNG"))
_add(19, "pal.png", OK, lambda: encode(BASE.quantize(64), "PNG"))
_add(20, "pal_trns_bytes.png", OK, lambda: encode(BASE.quantize(64), "PNG", transparency=bytes(range(0, 256, 4))))
_add(21, "one.png", OK, lambda: encode(BASE.convert("1"), "PNG"))
_add(22, "transparent_red.png", OK, lambda: encode(Image.new("RGBA", (64, 64), (255, 0, 0, 0)), "PNG"))
_add(23, "png16gray.png", OK, lambda: png(np.full((64, 64), 40000, np.uint16)))
_add(24, "png16rgb.png", OK, lambda: png(np.asarray(BASE).astype(np.uint16) * 257))
_add(25, "ok.webp", OK, lambda: encode(BASE, "WEBP", quality=85))
_add(26, "anim.webp", OK, lambda: encode(BASE, "WEBP", save_all=True, append_images=_frames()), animated=True)
_add(27, "apng.png", OK, lambda: encode(BASE, "PNG", save_all=True, append_images=_frames()), animated=True)
_add(28, "icc_srgb.jpg", OK, lambda: encode(BASE, icc_profile=_srgb()))
_add(29, "icc_gray_in_rgb.jpg", OK, lambda: encode(BASE, icc_profile=patched(_srgb(), 16, b"GRAY")))
_add(30, "icc_garbage.jpg", OK, lambda: encode(BASE, icc_profile=random_bytes(3000)))
_add(31, "icc_5mb.jpg", OK, lambda: encode(BASE, icc_profile=random_bytes(5_000_000)))
_add(32, "gps.jpg", OK, lambda: encode(BASE, exif=_gps()))
_add(33, "exif_garbage.jpg", OK, lambda: inserted(base(), exif_segment(random_bytes(500))))
_add(34, "exif_zero_div.jpg", OK, lambda: inserted(base(), exif_segment(exif_zero_denominator())))
_add(35, "exif_selfref.jpg", OK, lambda: inserted(base(), exif_segment(exif(1)[:-4] + b"\0\0\0\x08")))
_add(
    36,
    "xmp_script.jpg",
    OK,
    lambda: inserted(
        base(),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x:xmpmeta><script>alert(1)</script></x:xmpmeta>"),
        segment(0xFE, b"c" * 65533),
    ),
)
_add(37, "wrong_ext.jpg", OK, base_png)
_add(38, "jpeg_named.png", OK, base)
_add(39, "html_poly.jpg", OK, lambda: inserted(base(), segment(0xFE, b"<html><script>alert(1)</script></html>")))
_add(40, "pnghtml.png", OK, lambda: base_png() + b"<html><script>alert(1)</script></html>")
_add(40, "zip_tail.jpg", OK, lambda: base() + _zip())
_add(41, "tail1mb.jpg", OK, lambda: base() + random_bytes(1_000_000))

# --- damaged

_add(42, "bitflip50.jpg", f"{OK} {CORRUPT} {CUT}", lambda: with_flipped_bits(base(), 50))
_add(43, "nohuff.jpg", CORRUPT, lambda: without_tables(base()))
_add(44, "arith_sof9.jpg", CORRUPT, lambda: with_frame(base(), marker=0xC9))
for percent in (10, 50, 99):
    _add(45, f"trunc_{percent}.jpg", CUT, lambda percent=percent: base()[: len(base()) * percent // 100])
_add(46, "trunc_noeoi.jpg", CUT, lambda: base()[:-2])
_add(47, "trunc.png", CUT, lambda: base_png()[: len(base_png()) // 2])
_add(48, "short_idat.png", CUT, lambda: png_of(320, 240, 8, 2, [zlib.compress(bytes(961 * 100))]))
_add(49, "badcrc.png", CORRUPT, lambda: with_bad_checksum(base_png()))
_add(50, "empty.jpg", "image_empty", lambda: b"")
_add(51, "one_byte.jpg", FORMAT, lambda: b"\xff")
_add(52, "ffd8.jpg", CUT, lambda: b"\xff\xd8")
_add(53, "ffd8ffd9.jpg", CORRUPT, lambda: b"\xff\xd8\xff\xd9")
_add(54, "random4k.jpg", FORMAT, lambda: b"\x13" + random_bytes(4095))
_add(54, "random_magic.jpg", f"{CORRUPT} {CUT}", lambda: b"\xff\xd8\xff\xe0" + random_bytes(4096))
_add(55, "prec12.jpg", FORMAT, lambda: with_frame(base(), marker=0xC1, precision=12))
_add(55, "prec16.jpg", FORMAT, lambda: with_frame(base(), precision=16))
_add(55, "lossless_sof3.jpg", FORMAT, lambda: with_frame(base(), marker=0xC3))
_add(56, "comp2.jpg", CORRUPT, lambda: with_frame(base(), components=2))
_add(56, "comp200.jpg", CORRUPT, lambda: with_frame(base(), components=200))
_add(56, "dim0.jpg", CORRUPT, lambda: with_frame(base(), width=0, height=0))
_add(56, "h0.jpg", CORRUPT, lambda: with_frame(base(), height=0))

# --- made to cost more than it should

_add(57, "dim12000.jpg", PIXELS, lambda: with_frame(big(), width=12000, height=12000))
_add(58, "dim65500.jpg", PIXELS, lambda: with_frame(big(), width=65500, height=65500))
_add(58, "bomb_13400.png", PIXELS, lambda: png_bomb(13_400))
_add(58, "bomb_30000.png", PIXELS, lambda: png_bomb(30_000))
_add(58, "dim_2g.png", PIXELS, lambda: png_of(2**31 - 1, 2**31 - 1, 8, 2, [zlib.compress(bytes(1000))]))
_add(59, "legit_50mp.jpg", OK, lambda: encode(smooth(5, (8660, 5770))))
_add(59, "legit_51mp.jpg", PIXELS, lambda: encode(smooth(5, (8750, 5830))))
_add(60, "scanbomb_300.jpg", COMPLEX, lambda: scan_bomb(300))
_add(60, "scanbomb_3000.jpg", COMPLEX, lambda: scan_bomb(3000))
_add(61, "strip_65500x1.jpg", SHAPE, lambda: encode(Image.new("RGB", (65500, 1))))
_add(61, "strip_1x65500.jpg", SHAPE, lambda: encode(Image.new("RGB", (1, 65500))))
_add(62, "one_px.jpg", SMALL, lambda: encode(Image.new("RGB", (1, 1))))
_add(62, "31x31.jpg", SMALL, lambda: encode(smooth(6, (31, 31))))
_add(62, "32x32.jpg", OK, lambda: encode(smooth(6, (32, 32))))
_add(63, "ff_fill_10mb.jpg", CUT, lambda: b"\xff\xd8" + b"\xff" * 10**7)
_add(63, "app_empty_10mb.jpg", COMPLEX, lambda: b"\xff\xd8" + b"\xff\xe1\0\2" * 2_500_000)
_add(64, "ztxt_bomb.png", COMPLEX, lambda: png(np.asarray(BASE), chunk(b"zTXt", b"k\0\0" + _explosive())))
_add(64, "iccp_bomb.png", COMPLEX, lambda: png(np.asarray(BASE), chunk(b"iCCP", b"k\0\0" + _explosive())))
_add(64, "many_text.png", OK, lambda: png(np.asarray(BASE), chunk(b"tEXt", b"k\0v") * 100_000))

# --- other formats under a picture's name

_add(65, "anim.gif", FORMAT, lambda: encode(BASE, "GIF", save_all=True, append_images=_frames()))
_add(65, "gifar.gif", FORMAT, lambda: encode(BASE, "GIF") + _zip())
_add(65, "anim.tiff", FORMAT, lambda: encode(BASE, "TIFF", save_all=True, append_images=_frames()))
for extension in ("BMP", "ICO", "PPM", "TGA", "PCX", "DDS", "ICNS"):
    _add(65, f"fmt_{extension.lower()}.jpg", FORMAT, lambda kind=extension: encode(BASE.resize((128, 128)), kind))
_add(65, "fmt_jp2.jpg", FORMAT, lambda: b"\0\0\0\x0cjP  \r\n\x87\n\0\0\0\x14ftypjp2 " + random_bytes(200))
_add(65, "fmt_psd.jpg", FORMAT, lambda: b"8BPS\0\1" + random_bytes(200))
_add(65, "fmt_fits.jpg", FORMAT, lambda: b"SIMPLE  =                    T" + b" " * 2850)
_add(66, "fmt_avif.jpg", FORMAT, lambda: b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf" + random_bytes(200))
_add(66, "heic.jpg", FORMAT, lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + random_bytes(200))
_add(67, "svg.jpg", FORMAT, lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script></svg>')
_add(
    67,
    "svg_xxe.svg",
    FORMAT,
    lambda: b'<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
)
_add(67, "html.jpg", FORMAT, lambda: b"<!DOCTYPE html><html><script>alert(1)</script></html>")
_add(67, "php.php.jpg", FORMAT, lambda: b"<?php system($_GET['c']); ?>")
_add(67, "fmt_eps.jpg", FORMAT, lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n(%pipe%id) (r) file\n")
_add(67, "fmt_pdf.jpg", FORMAT, lambda: b"%PDF-1.7\n1 0 obj\n<< /OpenAction << /S /JavaScript >> >>\nendobj\n")

# --- row 68: names, each sent with the bytes of ok_baseline.jpg

FILE_NAMES = (
    "a" * 300 + ".jpg",
    "../../x.jpg",
    "x\0.jpg",
    '"><img src=x onerror=alert(1)>.jpg',
    "x\r\nX-Injected: 1.jpg",
    "photo\u202egpj.exe",
    ".htaccess",
    "-rf.jpg",
    "",
    "\U0001f436.jpg",
    "x\udc80.jpg",
)

# --- found while building

_add(0, "exif_bomb.png", OK, lambda: png(np.asarray(BASE), chunk(b"eXIf", exif_bomb(1_000_000))))
_add(0, "exif_bomb.webp", OK, lambda: _webp_with_exif(exif_bomb(1_000_000)))
_add(0, "ok_orient6.webp", OK, lambda: encode(stored_as(BASE, 6), "WEBP", exif=exif(6), quality=85))
_add(0, "dim7000.jpg", CUT, lambda: with_frame(base(), width=7000, height=7000))
_add(0, "dim7000.png", CUT, lambda: png_of(7000, 7000, 8, 2, [zlib.compress(bytes(961 * 240))]))
_add(0, "scanbomb_80.jpg", COMPLEX, lambda: scan_bomb(80))
_add(0, "itxt_bomb.png", COMPLEX, lambda: png(np.asarray(BASE), chunk(b"iTXt", b"k\0\1\0en\0k\0" + _explosive())))
_add(0, "many_ztxt.png", COMPLEX, lambda: png(np.asarray(BASE), chunk(b"zTXt", b"k\0\0" + _megabyte()) * 9_000))
_add(0, "many_chunks.png", COMPLEX, lambda: png(np.asarray(BASE), chunk(b"tEXt") * 200_000))
_add(0, "two_frames.jpg", CORRUPT, lambda: inserted(base(), base()[slice(*find(base(), 0xC0))]))
_add(0, "dim16000.webp", f"{CORRUPT} {PIXELS}", lambda: _webp_lies())
_add(0, "trunc.webp", CUT, lambda: encode(BASE, "WEBP")[:-100])
_add(0, "rgb_key.png", OK, lambda: png(np.asarray(BASE), chunk(b"tRNS", bytes(6))))
_add(0, "rgb16_key.png", OK, lambda: png(np.asarray(BASE).astype(np.uint16) * 257, chunk(b"tRNS", b"\xff\xff" * 3)))
_add(0, "gray_key_too_large.png", OK, lambda: png(np.asarray(BASE.convert("L")), chunk(b"tRNS", b"\xff\xff")))
_add(0, "jfif_fill.jpg", OK, lambda: base()[:2] + b"\xff" * 1_000_000 + base()[2:])


def _faded() -> Image.Image:
    picture = BASE.convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(BASE.size))
    return picture


def _frames() -> list[Image.Image]:
    return [smooth(seed) for seed in range(20, 29)]


def _srgb() -> bytes:
    from PIL import ImageCms

    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def _gps() -> bytes:
    block = Image.Exif()
    block.get_ifd(0x8825).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return block.tobytes()


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("x.html", "<script>alert(1)</script>")
    return buffer.getvalue()


@cache
def _explosive() -> bytes:
    return zlib.compress(bytes(50_000_000), 9)  # 50 KB


@cache
def _megabyte() -> bytes:
    return zlib.compress(bytes(1_000_000), 9)  # 1 KB


def _webp_with_exif(block: bytes) -> bytes:
    picture = encode(BASE, "WEBP")
    extended = b"\x08\0\0\0" + (BASE.width - 1).to_bytes(3, "little") + (BASE.height - 1).to_bytes(3, "little")
    return webp_of(riff(b"VP8X", extended), picture[12:], riff(b"EXIF", block))


def _webp_lies() -> bytes:
    """A small picture whose frame header says 16,000 x 16,000."""
    return patched(encode(BASE, "WEBP"), 26, (16000).to_bytes(2, "little") * 2)

"""The archives that people and attackers send, made by the tests: name -> how it is written, and what becomes of it."""

import io
import struct
import unicodedata
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.photos import draw, encoded

PHOTO = encoded(draw(0, 0))
OK = "ok"


@dataclass(frozen=True)
class Case:
    code: str  # of the refusal, or OK
    write: Callable[[Path], object]
    member: str = ""  # what the sentence must name


CASES: dict[str, Case] = {}


def photos(labels: tuple[str, ...] = ("chow", "pug"), count: int = 4, prefix: str = "") -> dict[str, bytes]:
    return {
        f"{prefix}{name}/{number}.png": encoded(draw(label, number))
        for label, name in enumerate(labels)
        for number in range(count)
    }


def write_zip(file: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(file, "w", method) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return file


def with_member(info: zipfile.ZipInfo | str, data: bytes = PHOTO) -> Callable[[Path], object]:
    """A good archive with one member more."""

    def write(file: Path) -> None:
        write_zip(file, photos())
        with warnings.catch_warnings(), zipfile.ZipFile(file, "a") as out:
            warnings.simplefilter("ignore")  # two members of one name
            out.writestr(info, data)

    return write


def patched(change: Callable[[bytearray], bytes | bytearray], members: dict[str, bytes] | None = None) -> Callable:
    """A good archive after surgery on its bytes."""

    def write(file: Path) -> None:
        write_zip(file, members or {"pug/0.png": PHOTO, "pug/1.png": PHOTO}, zipfile.ZIP_STORED)
        file.write_bytes(change(bytearray(file.read_bytes())))

    return write


def special(mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("pug/special.png")
    info.external_attr = mode << 16
    return info


def directory_entry(data: bytearray) -> int:
    """Where the last entry of the directory begins."""
    return data.rindex(b"PK\x01\x02")


def set_word(data: bytearray, place: int, value: int, size: str = "<I") -> bytearray:
    struct.pack_into(size, data, place, value)
    return data


def renamed(old: bytes, new: bytes) -> Callable[[bytearray], bytes]:
    assert len(old) == len(new)
    return lambda data: bytes(data).replace(old, new)


def overlap(data: bytearray) -> bytearray:
    """Two entries of the directory with one member (CVE-2024-0450)."""
    return set_word(data, directory_entry(data) + 42, 0)


def many_empty(file: Path, count: int = 1_000_000) -> None:
    """Directory entries alone: `count` empty members in 46 bytes each, without even a name."""
    entry = b"PK\x01\x02" + bytes(42)
    directory = entry * count
    short = min(count, 0xFFFF)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, short, short, len(directory), 4, 0)
    file.write_bytes(b"PK\x03\x04" + directory + end)


def lying(declared: int) -> Callable[[bytearray], bytearray]:
    """Both headers of the last member declare another size."""

    def change(data: bytearray) -> bytearray:
        place = directory_entry(data)
        local = struct.unpack_from("<I", data, place + 42)[0]
        return set_word(set_word(data, place + 24, declared), local + 22, declared)

    return change


def latin(file: Path) -> None:
    """Names in UTF-8 and in an old code page, without a word about it."""
    write_zip(file, {"aaaa/0.png": PHOTO, "bbbb/1.png": PHOTO})
    data = file.read_bytes().replace(b"aaaa", "äö".encode()).replace(b"bbbb", "犬犬".encode("gbk"))
    file.write_bytes(data)


def labels_with(name: str) -> Callable[[Path], object]:
    return lambda file: write_zip(file, photos((name, "pug")))


def add(name: str, code: str, write: Callable[[Path], object], member: str = "") -> None:
    CASES[name] = Case(code, write, member)


add("ok_flat", OK, lambda file: write_zip(file, photos()))
add("ok_single_top_dir", OK, lambda file: write_zip(file, photos(prefix="dogs/")))
add(
    "ok_train_val_test",
    OK,
    lambda file: write_zip(file, photos(prefix="train/") | photos(prefix="val/") | photos(prefix="test/")),
)
add("slip", "unsafe_path", with_member("../../evil.jpg"), "../../evil.jpg")
add("slip_inside", "unsafe_path", with_member("a/../../e.jpg"), "a/../../e.jpg")
add("abs", "unsafe_path", with_member("/etc/evil.jpg"), "/etc/evil.jpg")
add("backslash", "unsafe_path", with_member("..\\..\\e.jpg"), "e.jpg")
add("drive", "unsafe_path", with_member("C:/x.jpg"), "C:/x.jpg")
add("nul", "unsafe_path", patched(renamed(b"pug/1.png", b"pug/\0.png")), "pug/")
add("symlink", "unsupported_member", with_member(special(0o120777), b"/etc/passwd"), "pug/special.png")
add("fifo", "unsupported_member", with_member(special(0o010644)), "pug/special.png")
add("device", "unsupported_member", with_member(special(0o060644)), "pug/special.png")
add("bomb", "ratio", lambda file: write_zip(file, photos() | {"pug/zeros.png": bytes(8_000_000)}), "pug/zeros.png")
add("overlap", "overlapping_members", patched(overlap), "pug/1.png")
add("nested", OK, lambda file: write_zip(file, photos() | {"pug/inner.zip": b"PK\x03\x04 an archive in an archive"}))
add("lying", "corrupt", patched(lying(10)), "pug/1.png")
add("lying_up", "too_large", patched(lying(0xFFFFFFFE)), "pug/1.png")
add("million", "too_many_files", many_empty)
add("trunc", "not_a_zip", patched(lambda data: data[: len(data) // 2]))
add("notzip", "not_a_zip", lambda file: file.write_text("not a zip"))
add("empty", "no_images", lambda file: write_zip(file, {}))
add("crc", "corrupt", patched(renamed(PHOTO, PHOTO[:-1] + b"x")), "pug/0.png")
add("dup", "duplicate_name", with_member("pug/0.png"), "pug/0.png")
add("dup_in_disguise", "duplicate_name", with_member("pug/./0.png"), "pug/./0.png")
add("case", OK, lambda file: write_zip(file, photos() | {"pug/A.png": PHOTO, "pug/a.png": encoded(draw(1, 99))}))
add("longname", "name_too_long", with_member(f"pug/{'x' * 296}.png"), "xxx")
add("deep", "too_deep", with_member("a/" * 500 + "1.png"), "a/a/")
add("encrypted", "encrypted", patched(lambda data: set_word(data, directory_entry(data) + 8, 1, "<H")), "pug/1.png")
for number, method in ((12, "bzip2"), (14, "lzma"), (93, "zstandard"), (99, "unknown")):
    add(
        f"method_{method}",
        "unsupported_compression",
        patched(lambda data, number=number: set_word(data, directory_entry(data) + 10, number, "<H")),
        "pug/1.png",
    )
add("utf8_unflagged_and_gbk", OK, latin)
add("emoji_and_rtl", OK, lambda file: write_zip(file, photos(("🐕", "כלב"))))
TWINS = {f"pug/{unicodedata.normalize(form, 'é')}.png": encoded(draw(1, 50)) for form in ("NFC", "NFD")}
add("nfc_and_nfd", OK, lambda file: write_zip(file, photos() | TWINS))
add(
    "mac",
    OK,
    lambda file: write_zip(
        file, photos() | {"__MACOSX/pug/._1.png": b"", "pug/.DS_Store": b"", "pug/._1.png": b"", "Thumbs.db": b""}
    ),
)
add("label_script", OK, labels_with("<script>alert(1)<"))
add("label_formula", OK, labels_with("=1+1"))
add("label_con", OK, labels_with("CON"))
add("label_200", OK, labels_with("x" * 200))
add("label_spaces", "bad_class_name", labels_with("   "), "   /0.png")
add("label_dots", "unsafe_path", labels_with(".."), "../0.png")
add("tar", "not_a_zip", lambda file: file.write_bytes(bytes(257) + b"ustar" + bytes(512)))
add("gzip", "not_a_zip", lambda file: file.write_bytes(b"\x1f\x8b\x08" + bytes(100)))
add("rar", "not_a_zip", lambda file: file.write_bytes(b"Rar!\x1a\x07" + bytes(100)))
add("7z", "not_a_zip", lambda file: file.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100)))


def polyglot(file: Path) -> None:
    buffer = io.BytesIO(encoded(draw(0, 1), "JPEG"))
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a") as out:
        out.writestr("pug/0.png", PHOTO)
    file.write_bytes(buffer.getvalue())


add("polyglot", "not_a_zip", polyglot)

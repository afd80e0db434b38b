"""What every damaged model is made with: the register of them, and spec.json with its digests set right again."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

Damage = Callable[[Path], None]
HOSTILE: dict[str, Damage] = {}
SENTENCES: dict[str, str] = {}
WEIGHTS, GRAPH, SPEC = "weights.safetensors", "model.onnx", "spec.json"


def case(sentence: str) -> Callable[[Damage], Damage]:
    def add(damage: Damage) -> Damage:
        HOSTILE[damage.__name__] = damage
        SENTENCES[damage.__name__] = sentence
        return damage

    return add


class Payload:
    """Unpickled, it leaves a file: the proof that code ran."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def marker(folder: Path) -> Path:
    """What a payload in this folder would create."""
    return folder.parent / "code-ran"


def document(folder: Path) -> dict[str, Any]:
    return json.loads((folder / SPEC).read_text())


def seal(folder: Path, **changes: Any) -> None:
    """Writes spec.json with the digests that the files have now: what an attacker does as well."""
    spec = document(folder) | changes
    for name, entry in spec["files"].items():
        if (folder / name).is_file():
            data = (folder / name).read_bytes()
            entry |= {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    (folder / SPEC).write_text(json.dumps(spec))


def put(folder: Path, name: str, data: bytes) -> None:
    (folder / name).write_bytes(data)
    seal(folder)


def archive(members: dict[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as zipped:
        for name, data in members.items():
            zipped.writestr(name, data)
    return out.getvalue()

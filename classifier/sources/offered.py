"""The folders and zips on the server that people may name: those within the places that an operator opened for them."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path


def offered(places: Sequence[Path]) -> list[tuple[str, str]]:
    """What lies directly in these places: path and what it is called. Links that lead elsewhere are not offered,
    places that cannot be read neither."""
    found = []
    for place in places:
        with suppress(OSError):
            for entry in sorted(place.iterdir()):
                fits = entry.is_dir() or entry.suffix.lower() == ".zip"
                if fits and not entry.name.startswith(".") and entry.resolve().is_relative_to(place):
                    found.append((str(entry), f"{place.name}/{entry.name}"))
    return found


def within(path: str, places: Sequence[Path]) -> Path | None:
    """The folder or zip that a path names, links followed; None where it lies in none of these places."""
    try:
        found = Path(path).resolve()
        inside = any(found != place and found.is_relative_to(place) for place in places)
        return found if inside and (found.is_dir() or (found.suffix.lower() == ".zip" and found.is_file())) else None
    except (OSError, ValueError, RuntimeError):  # too long a name, a NUL in it, links in a circle
        return None

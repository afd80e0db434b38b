"""A process that waits at a named place, or is slow from there on, until the test has done what it came for.

Each function writes a `sitecustomize.py` into a folder, which the process to wait needs in its PYTHONPATH.
"""

from pathlib import Path


def after_event(folder: Path, event: str) -> None:
    """A training process that has told that event waits for the signal to leave, or to be killed."""
    (folder / "sitecustomize.py").write_text(
        "import sys, time\n"
        "def trace(frame, event, argument):\n"
        "    if event == 'return' and frame.f_code.co_name == 'tell' and frame.f_locals.get('event') == EVENT:\n"
        "        while not frame.f_locals['self'].leaving: time.sleep(0.01)\n"
        f"EVENT = {event!r}\n"
        "sys.setprofile(trace)\n"
    )


def after_photos(folder: Path, count: int) -> Path:
    """An import that has written so many photos takes a second for each further one while the returned file exists."""
    barrier = folder / "barrier"
    barrier.touch()
    (folder / "sitecustomize.py").write_text(
        "import pathlib, time\n"
        "written, whole = [], pathlib.Path.write_bytes\n"
        "def write_bytes(self, data):\n"
        f"    if len(written) >= {count} and pathlib.Path({str(barrier)!r}).exists(): time.sleep(1)\n"
        "    written.append(self)\n"
        "    return whole(self, data)\n"
        "pathlib.Path.write_bytes = write_bytes\n"
    )
    return barrier

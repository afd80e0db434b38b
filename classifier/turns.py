"""How many of a machine's processes do something heavy at a time: by locks of files, which end with who holds them."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


class Turns:
    """At most `count` turns at a time, among all processes that name the same folder and name."""

    def __init__(self, folder: Path, name: str, count: int) -> None:
        """Raises OSError where the folder cannot be written."""
        self.files = [folder / f"{name}-{number}.lock" for number in range(count)]
        folder.mkdir(parents=True, exist_ok=True)
        for file in self.files:
            file.touch()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """Waits for a turn, for as long as it takes."""
        with ExitStack() as stack:
            # Opened anew each time: a lock belongs to what was opened, and threads of one process count too.
            opened = [stack.enter_context(file.open("rb")) for file in self.files]
            for file in opened:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                break
            else:
                fcntl.flock(opened[os.getpid() % len(opened)], fcntl.LOCK_EX)
            yield

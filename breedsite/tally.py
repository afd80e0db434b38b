"""What all web processes count together, without waiting for each other: each adds to a page of shared memory that is
its own, and whoever is asked sums the pages.

The parent makes the memory before it forks, so a page outlives the process that wrote it: one that replaces a process
that was killed goes on counting where that one was. Nothing lies on a disk, which may be full. Plain Python, and quick:
one answer takes two microseconds.
"""

import mmap
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator

RECORDS = 4096  # different counts of one process; memory is taken for those alone that are used
RECORD_BYTES = 192
KEY_BYTES = RECORD_BYTES - 8  # before the count itself, a double
GAUGES = ("in_flight", "places_taken", "waiting", "waiting_large")  # what is now, and ends with its process
HEAD_BYTES = 8 * len(GAUGES)
PAGE_BYTES = HEAD_BYTES + RECORDS * RECORD_BYTES
BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds that an answer took at most
FULL = "full"  # the key that counts what finds no record any more
Key = tuple[str, ...]


class Tally:
    """`answered` and `change` while requests come; `counts` and `gauges` tell the sums over all processes."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # of the threads of this process: no process waits for another
        self.divide(1)

    def divide(self, places: int) -> None:
        """Begin anew with a page for each of so many processes; to be called before they are forked."""
        memory = mmap.mmap(-1, places * PAGE_BYTES)
        self.bytes = memoryview(memory)
        self.numbers = self.bytes.cast("d")
        self.places = places
        self.take(0)

    def take(self, place: int) -> None:
        """This process counts on that page from now on."""
        self.begin = place * PAGE_BYTES
        self.known = {key: number for number, key, _ in self._records(place)}
        self.clear(place)

    def clear(self, place: int) -> None:
        """Nothing is in flight there any more: its process has ended, or begins."""
        first = place * PAGE_BYTES // 8
        for gauge in range(len(GAUGES)):
            self.numbers[first + gauge] = 0.0

    # --- while requests come --------------------------------------------------------------------------------------
    def answered(self, route: str, status: int, code: str, seconds: float) -> None:
        """A request was answered; `code` is that of the refusal, empty where there was none."""
        bucket = str(bisect_left(BOUNDS, seconds))
        with self.lock:
            self._add(f"requests\t{route}\t{status}\t{code}", 1.0)
            self._add(f"took\t{route}\t{bucket}", 1.0)
            self._add(f"seconds\t{route}", seconds)

    def change(self, gauge: str, by: int) -> None:
        with self.lock:
            self.numbers[self.begin // 8 + GAUGES.index(gauge)] += by

    def set(self, gauge: str, value: int) -> None:
        self.numbers[self.begin // 8 + GAUGES.index(gauge)] = value

    def _add(self, key: str, amount: float) -> None:
        number = self.known.get(key)
        if number is None:
            number = self.known[key] = self._new(key)
        self.numbers[(self.begin + HEAD_BYTES + number * RECORD_BYTES + KEY_BYTES) // 8] += amount

    def _new(self, key: str) -> int:
        """A record for a key. Its first byte is written last: until then there is none, for others and after a kill."""
        number = len(self.known)
        if number >= RECORDS - 1:  # no route of ours gets there: then all further ones are counted together
            number, key = RECORDS - 1, FULL
        written = key.encode()[:KEY_BYTES]
        at = self.begin + HEAD_BYTES + number * RECORD_BYTES
        self.bytes[at + 1 : at + len(written)] = written[1:]
        self.bytes[at] = written[0]
        return number

    # --- for whoever asks -----------------------------------------------------------------------------------------
    def counts(self) -> dict[Key, float]:
        """The sums over all processes since the parent began, by `("requests", route, status, code)`, `("took", route,
        index of BOUNDS)`, `("seconds", route)`."""
        return summed(
            (tuple(key.split("\t")), value) for place in range(self.places) for _, key, value in self._records(place)
        )

    def gauges(self) -> dict[str, float]:
        """What is now, in all processes together."""
        pages = [place * PAGE_BYTES // 8 for place in range(self.places)]
        return {name: sum(self.numbers[page + at] for page in pages) for at, name in enumerate(GAUGES)}

    def _records(self, place: int) -> Iterator[tuple[int, str, float]]:
        """Number, key and count of each record of a page."""
        for number in range(RECORDS):
            at = place * PAGE_BYTES + HEAD_BYTES + number * RECORD_BYTES
            if self.bytes[at] == 0:
                return
            key = bytes(self.bytes[at : at + KEY_BYTES]).rstrip(b"\0").decode(errors="replace")
            yield number, key, self.numbers[(at + KEY_BYTES) // 8]


def summed(values: Iterable[tuple[Key, float]]) -> dict[Key, float]:
    found: dict[Key, float] = {}
    for key, value in values:
        found[key] = found.get(key, 0.0) + value
    return found


tally = Tally()  # of this process and those that it forks

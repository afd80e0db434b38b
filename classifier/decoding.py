"""Many files of strangers decoded at a time, each in a sandbox, and handed on in the order in which they came."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from queue import SimpleQueue
from typing import Self, TypeVar

from classifier.guard import Limits, Refused
from classifier.sandbox import Sandbox

IN_FLIGHT = 4  # files for each sandbox that are read, and not yet handed on

Item = TypeVar("Item")
Seen = TypeVar("Seen")


class Decoders:
    """So many sandboxes, kept from one call to the next: starting one takes as long as fifty photos."""

    def __init__(self, count: int, limits: Limits = Limits()) -> None:
        self.count = count
        self._free: SimpleQueue[Sandbox] = SimpleQueue()
        self._stack = ExitStack()
        for _ in range(count):
            self._free.put(self._stack.enter_context(Sandbox(limits=limits)))
        self._pool = self._stack.enter_context(ThreadPoolExecutor(count))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # the threads before the sandboxes

    def in_order(
        self, items: Iterable[Item], see: Callable[[Sandbox, Item], Seen], *, ahead: int = 0
    ) -> Iterator[tuple[Item, Seen | Refused]]:
        """Each item with what `see` makes of it in a sandbox, or the refusal that it raises.

        A few items are in memory at a time, however many there are; at least `ahead` for who takes several at once.
        Whatever else `see` raises ends the iteration.
        """
        most = max(ahead, IN_FLIGHT * self.count)
        waiting: deque[tuple[Item, Future[Seen | Refused]]] = deque()
        try:
            for item in items:
                waiting.append((item, self._pool.submit(self._seen, see, item)))
                if len(waiting) > most:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            wait([future for _, future in waiting if not future.cancel()])

    def _seen(self, see: Callable[[Sandbox, Item], Seen], item: Item) -> Seen | Refused:
        sandbox = self._free.get()  # a sandbox serves one thread at a time
        try:
            return see(sandbox, item)
        except Refused as refused:
            return refused
        finally:
            self._free.put(sandbox)

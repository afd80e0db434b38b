"""Many files of strangers decoded at a time, each in a sandbox, and handed on in the order in which they came."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from queue import SimpleQueue
from typing import TypeVar

from classifier.guard import Limits, Refused
from classifier.sandbox import Sandbox

IN_FLIGHT = 4  # files for each sandbox that are read, and not yet handed on

Item = TypeVar("Item")
Seen = TypeVar("Seen")


def in_order(
    items: Iterable[Item], see: Callable[[Sandbox, Item], Seen], *, sandboxes: int, limits: Limits = Limits()
) -> Iterator[tuple[Item, Seen | Refused]]:
    """Each item with what `see` makes of it in one of so many sandboxes, or the refusal that it raises.

    A few items are in memory at a time, however many there are. Whatever else `see` raises ends the iteration.
    """
    free: SimpleQueue[Sandbox] = SimpleQueue()

    def seen(item: Item) -> Seen | Refused:
        sandbox = free.get()  # a sandbox serves one thread at a time
        try:
            return see(sandbox, item)
        except Refused as refused:
            return refused
        finally:
            free.put(sandbox)

    with ExitStack() as stack:
        for _ in range(sandboxes):
            free.put(stack.enter_context(Sandbox(limits=limits)))
        pool = stack.enter_context(ThreadPoolExecutor(sandboxes))
        stack.callback(pool.shutdown, cancel_futures=True)  # before the sandboxes close
        waiting: deque[tuple[Item, Future[Seen | Refused]]] = deque()
        for item in items:
            waiting.append((item, pool.submit(seen, item)))
            if len(waiting) > IN_FLIGHT * sandboxes:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()

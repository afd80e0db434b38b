"""First come, first served, and a bounded line."""

import gc
import threading
import time
import weakref
from functools import partial

import pytest

from classifier.line import Line, LineFull

pytestmark = pytest.mark.alone


class Hold:
    """Work that lasts until it is let go."""

    def __init__(self) -> None:
        self.began, self.go = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.began.set()
        assert self.go.wait(30)
        return "held"


def in_threads(*works) -> list[threading.Thread]:
    threads = [threading.Thread(target=work) for work in works]
    for thread in threads:
        thread.start()
    return threads


def join(threads: list[threading.Thread]) -> None:
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def until_inside(line: Line, count: int) -> None:
    while line.inside != count:
        time.sleep(0.001)


def test_it_gives_back_what_the_work_returns_or_raises():
    line = Line(2, 0)
    assert line.do(lambda: 7, max_wait_seconds=5) == 7
    with pytest.raises(ZeroDivisionError):
        line.do(lambda: 1 // 0, max_wait_seconds=5)
    assert line.inside == 0


def test_a_timeout_of_the_work_itself_is_not_a_full_line():
    def late() -> None:
        raise TimeoutError("the work's own")

    with pytest.raises(TimeoutError, match="the work's own"):
        Line(1, 0).do(late, max_wait_seconds=5)


def test_turns_come_in_the_order_of_arrival():
    line, hold, order, threads = Line(1, 50), Hold(), [], []
    threads += in_threads(lambda: line.do(hold, max_wait_seconds=30))
    for number in range(50):
        work = lambda number=number: line.do(lambda: order.append(number), max_wait_seconds=30)  # noqa: E731
        threads += in_threads(work)
        until_inside(line, number + 2)
    hold.go.set()
    join(threads)
    assert order == list(range(50))


def test_never_more_at_once_than_workers_under_a_crowd():
    line, lock, now, most = Line(3, 100), threading.Lock(), 0, 0

    def work() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.0005)
        with lock:
            now -= 1

    def caller() -> None:
        for _ in range(30):
            line.do(work, max_wait_seconds=30)

    join(in_threads(*[caller] * 20))
    assert most == 3
    assert line.inside == 0


def test_a_full_line_refuses_at_once():
    line, hold = Line(1, 0), Hold()
    threads = in_threads(lambda: line.do(hold, max_wait_seconds=30))
    hold.began.wait()
    began = time.monotonic()
    with pytest.raises(LineFull):
        line.do(lambda: None, max_wait_seconds=5)
    assert time.monotonic() - began < 1
    hold.go.set()
    join(threads)
    assert line.do(lambda: "again", max_wait_seconds=5) == "again"


def test_whoever_waits_too_long_leaves_and_the_work_is_never_done():
    line, hold, done = Line(1, 3), Hold(), []
    threads = in_threads(lambda: line.do(hold, max_wait_seconds=30))
    hold.began.wait()
    with pytest.raises(LineFull):
        line.do(lambda: done.append(1), max_wait_seconds=0.05)
    hold.go.set()
    join(threads)
    line.do(lambda: None, max_wait_seconds=5)
    assert done == [] and line.inside == 0


def test_work_that_has_begun_is_waited_for_however_long_it_takes():
    line, hold, results = Line(1, 0), Hold(), []
    threads = in_threads(lambda: results.append(line.do(hold, max_wait_seconds=0.02)))
    hold.began.wait()
    time.sleep(0.1)
    hold.go.set()
    join(threads)
    assert results == ["held"]


def test_nothing_is_lost_where_waits_are_as_short_as_the_work():
    line, done, refused, lock = Line(2, 50), [], [], threading.Lock()

    def work() -> None:
        time.sleep(0.0004)
        with lock:
            done.append(1)

    def caller() -> None:
        for _ in range(100):
            try:
                line.do(work, max_wait_seconds=0.0008)
            except LineFull:
                with lock:
                    refused.append(1)

    join(in_threads(*[caller] * 8))
    assert refused
    assert len(done) + len(refused) == 800
    assert line.inside == 0


def test_what_failed_work_was_about_is_let_go_with_its_error():
    """And not when the collector comes by: it may be a photo of ten megabytes."""

    class Photo:
        pass

    def work(photo: Photo) -> None:
        raise ValueError("no picture")

    line, photo = Line(1, 0), Photo()
    alive = weakref.ref(photo)
    gc.disable()
    try:
        with pytest.raises(ValueError, match="no picture"):
            line.do(partial(work, photo), max_wait_seconds=30)
        del photo
        line.do(lambda: None, max_wait_seconds=30)  # its thread remembers the last thing that it did
        assert alive() is None
    finally:
        gc.enable()

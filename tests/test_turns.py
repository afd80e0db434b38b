"""First come, first served, and a bounded line."""

import threading
import time

import pytest

from classifier.turns import LineFull, Turns


def wait_for_line(turns: Turns, length: int) -> None:
    while len(turns.line) != length:
        time.sleep(0.001)


def test_turns_come_in_the_order_of_arrival():
    turns, order, threads = Turns(1, 50), [], []

    def one(number: int) -> None:
        with turns.turn(10):
            order.append(number)

    with turns.turn(1):
        for number in range(50):
            threads.append(threading.Thread(target=one, args=(number,)))
            threads[-1].start()
            wait_for_line(turns, number + 1)
    for thread in threads:
        thread.join()
    assert order == list(range(50))


def test_a_newcomer_does_not_pass_those_who_wait():
    turns, order = Turns(1, 5), []

    def one(name: str) -> None:
        with turns.turn(10):
            order.append(name)

    turns.enter(0)
    first = threading.Thread(target=one, args=("first",))
    first.start()
    wait_for_line(turns, 1)
    turns.leave()
    one("newcomer")
    first.join()
    assert order == ["first", "newcomer"]


def test_never_more_than_the_slots_at_once_under_a_crowd():
    turns, now, most, lock = Turns(3, 100), 0, 0, threading.Lock()

    def one() -> None:
        nonlocal now, most
        for _ in range(50):
            with turns.turn(30):
                with lock:
                    now += 1
                    most = max(most, now)
                time.sleep(0)
                with lock:
                    now -= 1

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 3
    assert turns.free == 3 and not turns.line


def test_a_full_line_refuses_at_once():
    turns = Turns(1, 0)
    with turns.turn(1):
        began = time.monotonic()
        with pytest.raises(LineFull):
            turns.enter(5)
        assert time.monotonic() - began < 1
    assert turns.enter(0) == 0.0


def test_whoever_waits_too_long_leaves_the_line():
    turns = Turns(1, 3)
    with turns.turn(1):
        with pytest.raises(LineFull):
            turns.enter(0.05)
        assert not turns.line
    assert turns.free == 1


def test_a_turn_that_comes_while_giving_up_is_not_lost():
    """Waits as short as the turns themselves: whatever the race, every slot is free in the end."""
    turns, refused = Turns(2, 50), []

    def one() -> None:
        for _ in range(100):
            try:
                with turns.turn(0.0005):
                    time.sleep(0.0004)
            except LineFull:
                refused.append(1)

    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused
    assert turns.free == 2 and not turns.line

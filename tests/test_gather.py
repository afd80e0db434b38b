"""Who waits while a pass is made shares the next one."""

import threading

import numpy as np
import pytest

from classifier.engines.gather import Gather

pytestmark = pytest.mark.alone


class Network:
    """Answers with the first pixel of each picture; holds its first pass until it is let go."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.begun, self.go = threading.Event(), threading.Event()

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        self.sizes.append(len(pictures))
        self.begun.set()
        assert self.go.wait(30)
        return pictures[:, 0, 0, :1].astype(np.float32)


def picture(value: int, count: int = 1, side: int = 4) -> np.ndarray:
    return np.full((count, side, side, 3), value, np.uint8)


@pytest.fixture
def gather() -> Gather:
    one = Gather(most=4)
    one.start()
    return one


@pytest.fixture
def network() -> Network:
    return Network()


def test_those_that_wait_go_together_and_each_gets_its_own_rows(gather, network):
    first = gather.ask(network, picture(1))
    assert network.begun.wait(30)
    others = [
        gather.ask(network, picture(2)),
        gather.ask(network, picture(3, count=2)),
        gather.ask(network, picture(4)),
    ]
    assert gather.busy_seconds > 0
    network.go.set()
    assert first.result(30).logits.tolist() == [[1]] and first.result().together == 1
    assert [one.result(30).logits.tolist() for one in others] == [[[2]], [[3], [3]], [[4]]]
    assert {one.result().together for one in others} == {4}
    assert network.sizes == [1, 4]


def test_no_pass_has_more_than_the_most_and_no_caller_is_divided(gather, network):
    gather.ask(network, picture(0))
    assert network.begun.wait(30)
    futures = [gather.ask(network, picture(value, count=3)) for value in (1, 2, 3)]
    last = gather.ask(network, picture(4))
    network.go.set()
    assert [one.result(30).logits[0, 0] for one in [*futures, last]] == [1, 2, 3, 4]
    assert network.sizes == [1, 4, 3, 3]  # the lonely one found room beside the first three


def test_another_network_and_another_size_have_passes_of_their_own(gather, network):
    other = Network()
    other.go.set()
    gather.ask(network, picture(0))
    assert network.begun.wait(30)
    same = [gather.ask(network, picture(1)), gather.ask(other, picture(2)), gather.ask(network, picture(3, side=8))]
    network.go.set()
    assert [one.result(30).logits[0, 0] for one in same] == [1, 2, 3]
    assert network.sizes == [1, 1, 1] and other.sizes == [1]


def test_an_error_reaches_each_who_shared_the_pass_and_the_next_pass_is_made(gather, network):
    gather.ask(network, picture(0))
    assert network.begun.wait(30)

    def broken(pictures: np.ndarray) -> np.ndarray:
        raise RuntimeError("not today")

    lost = [gather.ask(broken, picture(1)), gather.ask(broken, picture(2))]
    network.go.set()
    for one in lost:
        with pytest.raises(RuntimeError, match="not today"):
            one.result(30)
    assert gather.ask(network, picture(7)).result(30).logits.tolist() == [[7]]
    assert gather.alive and gather.busy_seconds == 0

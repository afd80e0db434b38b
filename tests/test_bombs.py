"""Files made to cost more than they should, as `python -m benchmarks.misbehaviour bombs` throws them for a minute."""

import os

import pytest

from benchmarks.misbehaviour import bombs
from benchmarks.misbehaviour.clients import Normal
from tests.corpus import CASES
from tests.live import Wire

pytestmark = pytest.mark.usefixtures("active_version")
MIB = 1024**2


@pytest.fixture(autouse=True)
def without_rate(settings) -> None:
    settings.PREDICT_RATE = None


def test_each_kind_is_refused_while_the_others_are_answered_in_bounded_memory(wire: Wire, picture):
    kinds = {name: right for name, right in bombs.KINDS.items() if name != "legit_50mp.jpg"}
    for name in kinds:
        len(CASES[name].data)  # made before anybody looks at the memory
    with bombs.watched(os.getpid()) as memory, Normal(wire.port, picture, every_seconds=0.02) as normal:
        told = bombs.throw(wire.port, kinds=kinds, at_once=3, seconds=0)
    assert bombs.wrong(told, kinds) == {}
    assert {kind.got.total() for kind in told.values()} == {3}
    assert normal.got.total() > 0 and set(normal.got) == {"200"}
    assert bombs.in_words(normal)["others"] == {} and bombs.in_words(normal)["n"] == normal.got.total()
    assert max(memory) - memory[0] < 300 * MIB, "one of 12,000 x 12,000 pixels would take more"


def test_an_answer_that_is_not_right_is_told(wire: Wire):
    kinds = {"strip_65500x1.jpg": frozenset({"200"})}
    told = bombs.throw(wire.port, kinds=kinds, at_once=2, seconds=0)
    assert bombs.wrong(told, kinds) == {"strip_65500x1.jpg": {"422": 2}}

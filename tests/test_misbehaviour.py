"""Clients that hang up, drip and lie, as `python -m benchmarks.misbehaviour clients` sends them in greater numbers."""

import os
import time
from statistics import median

import pytest

from benchmarks.misbehaviour import clients as misbehaviour
from tests.live import Wire

pytestmark = pytest.mark.usefixtures("active_version")


@pytest.fixture(autouse=True)
def room_for_all(settings, monkeypatch) -> None:
    """No rate, and a place for everybody: clients and server share one interpreter, which a busy machine may keep from
    answering for as long as it takes them all to come."""
    from breedsite.wsgi import application

    settings.PREDICT_RATE = None
    settings.PREDICT_QUEUE = 1000
    settings.PREDICT_WAIT_SECONDS = 60.0
    monkeypatch.setattr(application, "places", 1000)


@pytest.mark.parametrize("count", [10, 100])
def test_slow_senders_stop_neither_predictions_nor_healthz(wire: Wire, picture, count: int):
    with misbehaviour.dripping(wire.port, count, every_seconds=0.1):
        time.sleep(0.3)
        seconds = []
        for _ in range(20):
            began = time.monotonic()
            assert wire.photo(picture).status == 200
            assert wire("GET", "/healthz").status == 200
            seconds.append(time.monotonic() - began)
    assert median(seconds) < 0.5


def test_whatever_clients_do_the_others_are_answered_and_every_place_is_free_again(wire: Wire, picture, make_picture):
    from breedsite.wsgi import application

    files = misbehaviour.open_files(os.getpid())
    photo = make_picture(size=(640, 480))
    report = misbehaviour.misbehave(wire.port, photo, aborts=100, slow=100, lies=3, rate=100)
    assert report.wrong == {}
    assert set(report.got) == {"cut in the body", "gone before the answer", *misbehaviour.LIES}
    assert {sum(report.got[name].values()) for name in misbehaviour.LIES} == {3}
    assert report.normal.got.total() > 0 and report.normal.share >= 0.99
    assert misbehaviour.back_to(os.getpid(), files) < misbehaviour.BACK_SECONDS
    assert (application.inside, application.bytes_inside) == (0, 0)


def test_an_answer_that_is_not_right_is_told(wire: Wire, picture, monkeypatch):
    spoilt = misbehaviour.Client(lambda photo: misbehaviour.sized(3) + b"GIF", misbehaviour.answers("200"))
    monkeypatch.setattr(misbehaviour, "LIES", {"no photo": spoilt})
    report = misbehaviour.misbehave(wire.port, picture, aborts=1, slow=0, lies=2, rate=100)
    assert list(report.wrong) == ["no photo"] and sum(report.wrong["no photo"].values()) == 2

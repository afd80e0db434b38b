"""How often one caller may predict or try to sign in, counted by every process together."""

import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.conf import settings as configured
from django.test import Client, RequestFactory

from breedsite import rates
from breedsite.rates import STEPS, Counts, LocalCounts, Rate, SharedCounts, client_address


@pytest.fixture(autouse=True)
def fresh_counts():
    SharedCounts(configured.CACHE_URL).client.flushdb()
    rates.counts.cache_clear()
    yield
    rates.counts.cache_clear()


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("600/min", Rate(600, 60)),
        ("10/s", Rate(10, 1)),
        ("1/hour", Rate(1, 3600)),
        ("", None),
        (" 5 / day ", Rate(5, 86400)),
    ],
)
def test_a_rate_is_written_as_people_say_it(text: str, rate: Rate | None):
    assert Rate.parse(text) == rate


@pytest.mark.parametrize("text", ["600", "0/min", "-1/min", "10/week", "ten/min", "1/min; drop", "1.5/s"])
def test_what_is_no_rate_is_refused(text: str):
    with pytest.raises(ValueError, match="is not a rate"):
        Rate.parse(text)


@pytest.fixture(params=["local", "shared"])
def counts(request):
    return LocalCounts() if request.param == "local" else SharedCounts(configured.CACHE_URL)


def test_exactly_as_many_pass_as_the_rate_says(counts):
    waits = [counts.hit("a", Rate(5, 60)) for _ in range(8)]
    assert waits[:5] == [0.0] * 5 and all(0 < wait <= 66 for wait in waits[5:])
    assert counts.hit("b", Rate(5, 60)) == 0.0, "another caller has a count of its own"


def test_no_stretch_of_the_window_lets_more_through(counts):
    """Hammered until three times the rate has passed: any stretch as long as the window holds at most the rate, and
    nobody is told to wait for much longer than the window."""
    rate, window = Rate(40, 0.5), 0.5
    passed = []  # when each was asked for, and when it was answered: it was counted somewhere between the two
    while len(passed) < 3 * rate.count:
        asked = time.monotonic()
        wait = counts.hit("a", rate)
        if wait == 0.0:
            passed.append((asked, time.monotonic()))
        assert wait <= window * (STEPS + 1) / STEPS + 0.001
        time.sleep(0.0005)
    for (asked, _), (_, answered) in zip(passed, passed[rate.count :], strict=False):
        assert answered - asked >= window * 0.95  # Valkey reads another clock


def test_it_may_go_on_after_the_time_it_was_told(counts):
    rate = Rate(2, 0.3)
    while (wait := counts.hit("a", rate)) == 0.0:  # more than twice, where the machine stands still meanwhile
        pass
    assert 0 < wait <= rate.seconds * (STEPS + 1) / STEPS + 0.001
    time.sleep(wait + 0.005)
    assert counts.hit("a", rate) == 0.0


def test_many_at_once_get_no_more_than_one_after_the_other(counts):
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: counts.hit("a", Rate(60, 60)), range(400)))
    assert waits.count(0.0) == 60


def test_what_is_taken_back_was_not_counted(counts):
    rate = Rate(3, 60)
    for _ in range(10):
        assert counts.hit("a", rate) == 0.0
        counts.take_back("a")
    assert [counts.hit("a", rate) == 0.0 for _ in range(4)] == [True, True, True, False]
    counts.take_back("a")
    counts.take_back("nobody")
    assert [counts.hit("a", rate) == 0.0 for _ in range(2)] == [True, False]


def test_a_process_forgets_callers_when_there_are_too_many():
    counts = LocalCounts(max_callers=100)
    for number in range(1000):
        counts.hit(str(number), Rate(1, 60))
    assert len(counts.counts) == 100


def test_without_the_cache_each_process_counts_for_itself_and_says_so_once(caplog):
    counts = Counts("unix:///nowhere/valkey.sock")
    waits = [counts.hit("a", Rate(3, 60)) for _ in range(5)]
    counts.away_until = 0
    counts.hit("a", Rate(3, 60))
    assert [wait == 0.0 for wait in waits] == [True, True, True, False, False]
    assert len([record for record in caplog.records if "does not answer" in record.message]) == 1


def test_when_the_cache_is_back_it_counts_again(monkeypatch):
    monkeypatch.setattr(rates, "RETRY_SHARED_SECONDS", 3600)
    counts = Counts("unix:///nowhere/valkey.sock")
    counts.hit("a", Rate(1, 60))
    counts.shared = SharedCounts(configured.CACHE_URL)
    assert counts.hit("a", Rate(1, 60)) > 0, "it is left alone for a while"
    counts.away_until = 0
    assert counts.hit("a", Rate(1, 60)) == 0.0 and not counts.away


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "", "10.0.0.9"),
        (0, "1.2.3.4", "10.0.0.9"),
        (1, "", "10.0.0.9"),
        (1, "1.2.3.4", "1.2.3.4"),
        (1, "6.6.6.6, 1.2.3.4", "1.2.3.4"),
        (2, "6.6.6.6, 1.2.3.4, 10.0.0.1", "1.2.3.4"),
        (2, "1.2.3.4", "1.2.3.4"),
        (1, "x" * 5000, "x" * 64),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (1, "2001:db8:1:2:ffff::1", "2001:db8:1:2::"),
        (1, "not:an:address", "not:an:address"),
        (1, "::ffff:1.2.3.4", "1.2.3.4"),
        (1, "::ffff:102:305", "1.2.3.5"),
        (1, "1.2.3.4:5678", "1.2.3.4"),
        (1, "[2001:db8:1:2:3:4:5:6]:5678", "2001:db8:1:2::"),
        (1, "[::ffff:1.2.3.4]", "1.2.3.4"),
        (1, "[]:5678", "[]:5678"),
    ],
)
def test_a_forwarded_address_is_believed_from_our_own_proxies_only(settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    headers = {"HTTP_X_FORWARDED_FOR": forwarded} if forwarded else {}
    assert client_address(RequestFactory().get("/", REMOTE_ADDR="10.0.0.9", **headers)) == address


def test_predictions_beyond_the_rate_are_told_when_to_come_back(client: Client, active_version, picture, settings):
    settings.PREDICT_RATE = Rate(3, 60)
    answers = [
        client.post("/api/predictImage", picture, content_type="image/jpeg", HTTP_X_FORWARDED_FOR=f"1.1.1.{number}")
        for number in range(5)
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]
    assert answers[-1].json()["code"] == "rate_limited"
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 66


def test_who_signed_in_is_counted_by_account(client: Client, admin_client: Client, active_version, picture, settings):
    settings.PREDICT_RATE = Rate(1, 60)
    for one in (client, admin_client):
        assert one.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200
        assert one.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 429


def test_an_empty_rate_is_no_limit(client: Client, active_version, picture, settings):
    settings.PREDICT_RATE = None
    for _ in range(20):
        assert client.post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200


def test_guessing_passwords_is_slowed_down(client: Client, db, settings):
    settings.LOGIN_RATE = Rate(3, 60)
    statuses = [client.post("/admin/login/", {"username": "a", "password": "b"}).status_code for _ in range(5)]
    assert statuses == [200, 200, 200, 429, 429]
    assert client.get("/admin/login/").status_code == 200

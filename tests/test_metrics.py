"""/metrics: what is counted, that it is counted exactly by several processes, and who may read it."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families

from breedsite import jobs, tally
from breedsite.checks import the_token_of_the_metrics_is_not_guessed
from breedsite.metrics import of_requests
from breedsite.models import Worker
from breedsite.tally import Tally
from classifier.gate import OTHER, ROUTES
from tests.live import Wire
from tests.squares import make_dataset, make_run
from tests.test_prefork import Site, site  # noqa: F401 - a fixture
from trainer.models import TrainingRun

FAR = {"REMOTE_ADDR": "192.0.2.9"}
Samples = dict[str, float]


def samples(text: str) -> Samples:
    """`name{label="value"}` -> its number, as Prometheus reads the text."""
    found = {}
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(one.labels.items()))
            found[one.name + (f"{{{labels}}}" if labels else "")] = one.value
    return found


def request_key(route: str, status: int, code: str = "") -> str:
    return f'breedsite_requests_total{{code="{code}",route="{route}",status="{status}"}}'


@pytest.fixture(autouse=True)
def nothing_counted() -> Iterator[None]:
    tally.tally.divide(1)
    yield
    tally.tally.divide(1)


def scrape(client: Client | Wire) -> Samples:
    if isinstance(client, Wire):
        return samples(client("GET", "/metrics").body.decode())
    return samples(client.get("/metrics").text)


# --- what is counted ------------------------------------------------------------------------------------------------
def test_every_answer_is_counted_by_route_status_and_code(wire: Wire, active_version, picture):
    assert wire.photo(picture).status == 200
    assert wire.photo(picture).status == 200
    assert wire.photo(b"no picture").status == 415
    assert wire.photo(picture[:200]).status == 422
    assert wire("GET", "/healthz").status == 200
    assert wire("GET", "/nothing/here?name=secret").status == 404
    assert wire("POST", "/healthy/", bytes(3 * 1024**2)).status == 413
    assert wire.raw(b"nonsense\r\n\r\n").status == 400
    found = scrape(wire)
    counted = {name: value for name, value in found.items() if name.startswith("breedsite_requests_total")}
    assert counted == {
        request_key("/api/predictImage", 200): 2,
        request_key("/api/predictImage", 415, "unsupported_format"): 1,
        request_key("/api/predictImage", 422, "image_truncated"): 1,
        request_key("/healthz", 200): 1,
        request_key(OTHER, 404, "not_found"): 1,
        request_key(OTHER, 413, "file_too_large"): 1,
        request_key("/", 400, "malformed_request"): 1,
    }
    assert found['breedsite_decode_failures_total{code="image_truncated"}'] == 1
    assert found['breedsite_decode_failures_total{code="image_corrupt"}'] == 0
    assert found['breedsite_request_seconds_count{route="/api/predictImage"}'] == 4
    assert 0 < found['breedsite_request_seconds_sum{route="/api/predictImage"}'] < 60
    assert found[f'breedsite_version_info{{digest="{active_version.digest}",version="tiny:1"}}'] == 1


def test_the_histogram_is_cumulative():
    for seconds in (0.001, 0.005, 0.006, 3.0, 100.0):
        tally.tally.answered("/", 200, "", seconds)
    family = next(family for family in of_requests() if family.name == "breedsite_request_seconds")
    found = {one.labels["le"]: one.value for one in family.samples if "le" in one.labels}
    assert [found[bound] for bound in ("0.005", "0.01", "2.5", "5.0", "10.0", "+Inf")] == [2, 3, 3, 4, 4, 5]


def test_a_crowd_that_is_turned_away_is_counted(wire: Wire, active_version, monkeypatch, picture):
    from breedsite.wsgi import application

    monkeypatch.setattr(application, "places", 0)
    monkeypatch.setattr(application, "inside", 1)
    for _ in range(3):
        assert wire.photo(picture).status == 503
    found = scrape(wire)
    assert found["breedsite_predict_refused_total"] == 3
    assert found[request_key("/api/predictImage", 503, "overloaded")] == 3


def test_what_is_under_way_is_told(client: Client, active_version):
    tally.tally.change("in_flight", 3)
    tally.tally.change("places_taken", 2)
    tally.tally.set("waiting_large", 1)
    found = scrape(client)
    assert found["breedsite_requests_in_flight"] == 3 and found["breedsite_predict_places_taken"] == 2
    assert found['breedsite_predict_waiting{line="large"}'] == 1
    assert found['breedsite_predict_waiting{line="normal"}'] == 0
    assert found["breedsite_predict_places"] > 1 and found["breedsite_data_free_bytes"] > 0


def test_who_left_is_inside_no_more(wire: Wire, active_version, picture):
    for _ in range(5):
        assert wire.photo(picture).status == 200
    found = scrape(wire)
    assert found["breedsite_requests_in_flight"] == 1, "this one"
    assert found["breedsite_predict_places_taken"] == found['breedsite_predict_waiting{line="normal"}'] == 0


def test_the_gate_knows_the_routes_of_the_urls(client: Client, active_version):
    for path, route in ROUTES.items():
        if path != "/healthz":  # which Django never sees
            assert client.get(path).wsgi_request.META["breedsite.route"] == route


# --- what the database tells ----------------------------------------------------------------------------------------
@pytest.fixture
def folders(settings, tmp_path, monkeypatch) -> None:
    settings.DATASETS_DIR = settings.RUNS_DIR = tmp_path
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)


def test_jobs_and_workers_are_read_when_somebody_asks(client: Client, db, folders):
    dataset = make_dataset()
    run = make_run(dataset)
    make_run(dataset)
    held = TrainingRun.objects.claim_next(device="cpu")
    metric = {"learning_rate": 0.1, "images_per_second": 1.0}
    run.epochs.create(number=1, seconds=9.0, **metric)
    run.epochs.create(number=2, seconds=7.0, checkpoint_seconds=0.5, **metric)
    TrainingRun.objects.filter(pk=run.pk).update(pauses=3)
    Worker.objects.beat()
    Worker.objects.create(name="dead 1", heartbeat_at=timezone.now() - timedelta(hours=1))
    found = scrape(client)
    assert held == run
    assert found['breedsite_jobs{kind="run",status="running"}'] == 1
    assert found['breedsite_jobs{kind="run",status="queued"}'] == 1
    assert found['breedsite_jobs{kind="run",status="failed"}'] == 0
    assert found['breedsite_jobs{kind="dataset",status="ready"}'] == 1
    assert found[f'breedsite_run_epoch_seconds{{run="{run.pk}"}}'] == 7.0
    assert found[f'breedsite_run_checkpoint_seconds{{run="{run.pk}"}}'] == 0.5
    assert found[f'breedsite_run_checkpoint_failures{{run="{run.pk}"}}'] == 3
    assert found["breedsite_workers_alive"] == 1 and found["breedsite_database_up"] == 1
    assert 3590 < found['breedsite_worker_heartbeat_age_seconds{worker="dead 1"}'] < 3700


def test_without_a_database_the_rest_is_told(client: Client, active_version, monkeypatch):
    tally.tally.answered("/", 200, "", 0.1)

    def refuse(*_: object) -> None:
        raise OperationalError("could not connect to postgres://me:s3cret@host")

    with monkeypatch.context() as patch:
        patch.setattr(connection, "cursor", refuse)
        response = client.get("/metrics")
    found = samples(response.text)
    assert response.status_code == 200 and "s3cret" not in response.text
    assert found["breedsite_database_up"] == 0 and found[request_key("/", 200)] == 1
    assert not any(name.startswith("breedsite_jobs") for name in found)


# --- who may read it ------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("address", ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1"])
def test_this_machine_itself_may(client: Client, active_version, address: str):
    assert client.get("/metrics", REMOTE_ADDR=address).status_code == 200


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via", "X-Forwarded-Proto"])
def test_who_comes_through_a_proxy_of_this_machine_may_not(client: Client, active_version, header: str):
    response = client.get("/metrics", headers={header: "127.0.0.1", "accept": "application/json"})
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("address", ["192.0.2.9", "2001:db8::1", "::ffff:192.0.2.9", "", "unix:"])
def test_nobody_else_may(client: Client, active_version, address: str):
    response = client.get("/metrics", REMOTE_ADDR=address)
    assert response.status_code == 403 and "breedsite_requests" not in response.text


def test_staff_may_and_other_accounts_may_not(client: Client, active_version):
    client.force_login(User.objects.create_user("ann"))
    assert client.get("/metrics", **FAR).status_code == 403
    client.force_login(User.objects.create_user("staff", is_staff=True))
    assert client.get("/metrics", **FAR).status_code == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ("Bearer a-token-of-the-tests", 200),
        ("Bearer a-token-of-the-testz", 403),
        ("Bearer ", 403),
        ("Basic a-token-of-the-tests", 403),
        ("Bearer \u00fc", 403),
    ],
)
def test_a_token_opens_it(client: Client, active_version, settings, sent: str, status: int):
    settings.METRICS_TOKEN = "a-token-of-the-tests"
    assert client.get("/metrics", HTTP_AUTHORIZATION=sent, **FAR).status_code == status
    settings.METRICS_TOKEN = ""
    assert client.get("/metrics", HTTP_AUTHORIZATION=sent, **FAR).status_code == 403


def test_a_short_token_stops_the_start(settings):
    settings.METRICS_TOKEN = "short"
    [found] = the_token_of_the_metrics_is_not_guessed(None)
    assert found.id == "breedsite.E002" and "short" not in found.msg + found.hint
    settings.METRICS_TOKEN = "a-token-of-the-tests"
    assert the_token_of_the_metrics_is_not_guessed(None) == []


def test_prometheus_hears_the_form_it_prefers(client: Client, active_version):
    assert client.get("/metrics").headers["Content-Type"].startswith("text/plain; version=0.0.4")
    accept = {"accept": "application/openmetrics-text;version=1.0.0"}
    response = client.get("/metrics", headers=accept)
    assert response.headers["Content-Type"].startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


# --- several processes ----------------------------------------------------------------------------------------------
def test_the_sum_over_two_processes_is_what_a_client_counted_one_of_them_being_killed(site: Site):  # noqa: F811
    asked = 0

    def ask(count: int) -> None:
        nonlocal asked
        for _ in range(count):
            assert site("GET", "/healthz").status == 200
            asked += 1

    children = site.wait_for_children(2)
    ask(200)
    os.kill(victim := min(children), signal.SIGKILL)
    site.wait_for_children(2, without=victim)
    ask(200)
    end = time.monotonic() + 60
    while scrape(site)[request_key("/healthz", 200)] < asked and time.monotonic() < end:
        time.sleep(0.1)
    seen = [scrape(site) for _ in range(20)]  # whichever of them is asked
    assert {one[request_key("/healthz", 200)] for one in seen} == {asked}
    assert {one["breedsite_requests_in_flight"] for one in seen} == {1}


def forked(count: int, counted: Tally, times: int) -> list[int]:
    """Processes that count so many answers each, the odd ones until they are killed; their exit codes."""
    codes = []
    for place in range(count):
        if (pid := os.fork()) == 0:
            counted.take(place)
            counted.change("in_flight", 1)
            for _ in range(times):
                counted.answered("/", 200, "", 0.01)
            os.kill(os.getpid(), signal.SIGKILL if place % 2 else signal.SIGTERM)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    return codes


def test_what_a_killed_process_counted_stays_and_its_successor_goes_on():
    counted = Tally()
    counted.divide(4)
    for _ in range(2):
        forked(4, counted, 1000)
    assert counted.counts()[("requests", "/", "200", "")] == 8000
    assert counted.counts()[("took", "/", "1")] == 8000
    assert counted.gauges()["in_flight"] == 4, "until somebody buries them"
    for place in range(4):
        counted.clear(place)
    assert counted.gauges()["in_flight"] == 0


def test_a_record_that_was_not_finished_is_none_and_its_place_is_taken_again():
    counted = Tally()
    counted.answered("/", 200, "", 0.01)
    at = tally.HEAD_BYTES + 3 * tally.RECORD_BYTES
    counted.bytes[at + 1 : at + 5] = b"half"
    counted.take(0)
    counted.answered("/x", 200, "", 0.01)
    assert counted.counts()[("requests", "/x", "200", "")] == 1 and len(counted.counts()) == 6


def test_more_than_its_memory_holds_is_counted_together(monkeypatch):
    monkeypatch.setattr(tally, "RECORDS", 7)
    counted = Tally()
    for number in range(10):
        counted.answered(f"/{number}", 200, "", 0.01)
    assert counted.counts()[("requests", "/0", "200", "")] == 1
    assert counted.counts()[(tally.FULL,)] > 8


def test_many_threads_lose_no_count():
    counted = Tally()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: [counted.answered("/", 200, "", 0.01) for _ in range(500)], range(8)))
    assert counted.counts()[("requests", "/", "200", "")] == 4000

"""`/metrics` for Prometheus: what the web processes counted together, and what the database tells when it is asked.

A request is counted in the memory that its own process writes (`breedsite.tally`); all that costs anything is done
here, when somebody asks.
"""

import hmac
import shutil
from collections import defaultdict
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address
from itertools import accumulate

from django.conf import settings
from django.db import Error, connection
from django.db.models import Count
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.views.decorators.http import require_safe
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily as Histogram
from prometheus_client.core import InfoMetricFamily as Info
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from breedsite import reconciling
from breedsite.errors import problem_page
from breedsite.models import Worker
from breedsite.tally import BOUNDS, tally
from classifier.api import predictor
from classifier.problems import ABOUT_THE_PICTURE

FORWARDED = ("X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Real-IP", "Forwarded", "Via")
REFUSAL = "Metrics are told to this machine itself, to staff, and to who sends METRICS_TOKEN as a bearer."


@require_safe
def metrics(request: HttpRequest) -> HttpResponse:
    """Every number of the site, in the form that whoever asks prefers."""
    if not may_read(request):
        return problem_page(request, "forbidden", REFUSAL)
    written, content_type = choose_encoder(request.headers.get("Accept", ""))
    return HttpResponse(written(Everything()), content_type=content_type, headers={"Cache-Control": "no-store"})


def may_read(request: HttpRequest) -> bool:
    """The session is looked at last: it needs the database, which may be what somebody watches for."""
    if settings.METRICS_TOKEN:
        expected = f"Bearer {settings.METRICS_TOKEN}".encode()
        if hmac.compare_digest(request.headers.get("Authorization", "").encode(), expected):
            return True
    return from_this_machine(request) or (request.user.is_active and request.user.is_staff)


def from_this_machine(request: HttpRequest) -> bool:
    """By its connection, and through no proxy: behind one everybody seems to be here."""
    if any(name in request.headers for name in FORWARDED):
        return False
    try:
        address = ip_address(request.META.get("REMOTE_ADDR", ""))
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return address.is_loopback


class Everything(Collector):
    """What is told, in its order."""

    def collect(self) -> Iterator[Metric]:
        yield from of_requests()
        yield from of_predictions()
        yield gauge("data_free_bytes", "Free space on the disk of DATA_DIR.", shutil.disk_usage(settings.DATA_DIR).free)
        yield from of_database()


def gauge(name: str, help: str, value: float | None = None, *, labels: tuple[str, ...] = ()) -> Gauge:
    return Gauge(f"breedsite_{name}", help, value=value, labels=labels or None)


def of_requests() -> Iterator[Metric]:
    """Since the web server began; processes that were replaced are in it."""
    requests = Counter("breedsite_requests", "Requests answered.", labels=("route", "status", "code"))
    failures = Counter("breedsite_decode_failures", "Photos that could not be used.", labels=("code",))
    refused = Counter("breedsite_predict_refused", "Photos turned away because every place was taken.")
    seconds = Histogram("breedsite_request_seconds", "How long answers took.", labels=("route",))
    by_code: dict[str, float] = defaultdict(float)
    took: dict[str, list[float]] = defaultdict(lambda: [0.0] * (len(BOUNDS) + 1))
    sums: dict[str, float] = {}
    for key, value in sorted(tally.counts().items()):
        match key:
            case ("requests", route, status, code):
                requests.add_metric([route, status, code], value)
                by_code[code] += value
            case ("took", route, bucket):
                took[route][int(bucket)] = value
            case ("seconds", route):
                sums[route] = value
    for code in sorted(ABOUT_THE_PICTURE):
        failures.add_metric([code], by_code[code])
    refused.add_metric([], by_code["overloaded"])
    bounds = [*map(str, BOUNDS), "+Inf"]
    for route, counts in took.items():
        buckets = list(zip(bounds, accumulate(counts), strict=True))
        seconds.add_metric([route], buckets, sums.get(route, 0.0))
    yield from (requests, seconds, failures, refused)


def of_predictions() -> Iterator[Metric]:
    """What is now, in all web processes together; the version is the one of the process that was asked."""
    now = tally.gauges()
    yield gauge("requests_in_flight", "Requests under way, this one included.", now["in_flight"])
    yield gauge("predict_places_taken", "Photos that were let in and are not answered yet.", now["places_taken"])
    yield gauge("predict_places", "How many are let in at a time.", tally.places * predictor().room)
    waiting = gauge("predict_waiting", "Photos whose turn has not come.", labels=("line",))
    waiting.add_metric(["normal"], now["waiting"])
    waiting.add_metric(["large"], now["waiting_large"])
    yield waiting
    version = Info("breedsite_version", "The version that answers.", labels=("version", "digest"))
    if (current := predictor().current) is not None:
        version.add_metric([str(current.identity), current.identity.digest], {})
    yield version


def of_database() -> Iterator[Metric]:
    """Nothing but `database_up 0` where it does not answer."""
    try:
        found = [*of_jobs(), *of_workers()]
    except Error:
        connection.close()
        yield gauge("database_up", "Whether the database answers.", 0)
        return
    yield gauge("database_up", "Whether the database answers.", 1)
    yield from found


def of_jobs() -> Iterator[Metric]:
    """Runs, datasets and whatever else is worked on, by their status."""
    rows = gauge("jobs", "Jobs by their kind and status.", labels=("kind", "status"))
    measured = []
    for kind in reconciling.kinds():
        name = str(kind._meta.verbose_name).replace(" ", "_")
        known = {str(status): 0 for status, _ in kind._meta.get_field("status").choices or ()}
        found = kind._base_manager.order_by().values_list("status").annotate(Count("pk"))
        for status, count in (known | dict(found)).items():
            rows.add_metric([name, status], count)
        for what, help, values in kind.measured():
            measured.append(gauge(f"{name}_{what}", help, labels=(name,)))
            for row, value in values.items():
                measured[-1].add_metric([row], value)
    yield rows
    yield from measured


def of_workers() -> Iterator[Metric]:
    """Those of the last day: one that died stays in it, and its age grows."""
    yield gauge("workers_alive", "Workers that were heard of lately.", Worker.objects.alive().count())
    ages = gauge("worker_heartbeat_age_seconds", "Since a worker was heard of.", labels=("worker",))
    for worker in Worker.objects.all():
        ages.add_metric([worker.name], (timezone.now() - worker.heartbeat_at).total_seconds())
    yield ages

"""Is this process ready to answer? `/readyz` says so; `/healthz`, in the gate, says only that it lives."""

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from django.conf import settings
from django.core.cache import cache
from django.db import Error, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe
from kombu import Connection
from redis.exceptions import RedisError

from breedsite.broker import BROKER_ERRORS
from breedsite.models import Worker
from classifier.api import predictor
from classifier.artifact import ArtifactError, verify_golden

QUEUE_SECONDS = 5.0
FRESH_SECONDS = 1.0  # /readyz is not throttled: however often it is asked, it looks once in this time


@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, its tables are up to date and the active version gives its golden answer.

    The worker, the cache, the broker and what device answers are told, but do not decide: predictions need none of
    them.
    """
    states = look()
    ready = all(states[name] == "ok" for name in ("database", "migrations", "model"))
    body = {"ready": ready, **states}
    return JsonResponse(body, status=200 if ready else 503, headers={"Cache-Control": "no-store"})


T = TypeVar("T")


class Recent(Generic[T]):
    """What `ask` answered, for so many seconds: one caller at a time asks, and meanwhile the others hear what was known
    before; a first answer is waited for."""

    def __init__(self, ask: Callable[[], T], seconds: float) -> None:
        self.ask = ask
        self.seconds = seconds
        self.lock = threading.Lock()
        self.forget()

    def forget(self) -> None:
        self.known: tuple[T, float] | None = None  # an answer, and when it was given (seconds, monotonic)

    def __call__(self) -> T:
        known = self.known
        if not self.lock.acquire(blocking=known is None):
            assert known is not None
            return known[0]
        try:
            if self.known is None or time.monotonic() - self.known[1] >= self.seconds:
                self.known = self.ask(), time.monotonic()
            return self.known[0]
        finally:
            self.lock.release()


def states() -> dict[str, str]:
    reached = database()
    return {
        "database": reached,
        # Where one question took its five seconds in vain, another two would.
        "migrations": migrations() if reached == "ok" else "unknown",
        "worker": worker() if reached == "ok" else "unknown",
        "model": model(),
        "device": predictor().device,  # a GPU that is away is no reason to send nobody here
        "cache": cache_state(),
        "broker": broker(),
    }


look = Recent(states, FRESH_SECONDS)


def database() -> str:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
            cursor.fetchone()
    except Error:
        return "unreachable"
    return "ok"


def migrations() -> str:
    try:
        executor = MigrationExecutor(connection)
        pending = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except Error:
        return "unknown"
    return "pending" if pending else "ok"


def worker() -> str:
    try:
        return "ok" if Worker.objects.alive().exists() else "none alive"
    except Error:
        return "unknown"


def model() -> str:
    resident = predictor().current
    if resident is None:
        return "none active"
    try:
        verify_golden(resident.engine, resident.spec)  # what it answered where it was made, it must answer still
    except ArtifactError:
        return "wrong answers"
    return "ok"


def cache_state() -> str:
    try:
        cache.get("readyz")
    except (RedisError, OSError):
        return "unreachable"
    return "ok"


def broker() -> str:
    try:
        with Connection(settings.BROKER_URL, connect_timeout=1, transport_options=QUICK) as broker:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0, timeout=1)
    except BROKER_ERRORS:
        return "unreachable"
    return "ok"


queue_state = Recent(broker, QUEUE_SECONDS)  # for pages: "ok" or "unreachable"
QUICK: dict[str, Any] = {"socket_connect_timeout": 1, "socket_timeout": 1, "max_retries": 1}

"""The stage of the whole suite: a pytest plugin (`-p tests.stage`), for Django reads its settings before any conftest.

Every test process has a data folder of its own, under the temporary folder, and an embedded Valkey in it as cache and
broker; the installation's own data is never touched. Where the environment names a cache, that one is used, by each
process with a database of its own, from 15 downwards.

A suite that skips says so at its end; with REQUIRE_ALL=1 no browser, broker, database or disk test may be skipped.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from breedsite import valkey
from breedsite.tether import die_with

NEEDS = {
    "browser": "Chromium",
    "broker": "BROKER_URL and CACHE_URL",
    "database": "DATABASE_URL",
    "disk": "the right to mount a small disk (root)",
}
REQUIRED = os.environ.get("REQUIRE_ALL") == "1"
WORKER = os.environ.get("PYTEST_XDIST_WORKER", "")  # gw0, gw1, ...; empty in the process that shows the results
DATA_DIR = Path(tempfile.mkdtemp(prefix="breedsite-tests-"))

os.environ["DATA_DIR"] = str(DATA_DIR)
if WORKER and os.environ.get("CACHE_URL", "").startswith("redis"):
    database = 15 - int(WORKER.removeprefix("gw"))
    os.environ["CACHE_URL"] = urlsplit(os.environ["CACHE_URL"])._replace(path=f"/{database}").geturl()

server: subprocess.Popen[bytes] | None = None
skipped: list[pytest.TestReport] = []


def pytest_configure(config: pytest.Config) -> None:
    """Start the Valkey of this process, unless it only hands the tests out or the environment names a cache."""
    global server
    if (getattr(config.option, "numprocesses", None) and not WORKER) or "CACHE_URL" in os.environ:
        return
    from django.conf import settings

    server = subprocess.Popen(
        valkey.command(valkey.find_server(), settings.VALKEY_SOCKET, DATA_DIR),
        stdout=subprocess.DEVNULL,
        preexec_fn=partial(die_with, os.getpid()),
    )
    end = time.monotonic() + 20
    while not valkey.answers(settings.VALKEY_SOCKET):
        if server.poll() is not None or time.monotonic() > end:
            pytest.exit("The embedded Valkey of the tests did not start.", returncode=3)
        time.sleep(0.01)


def pytest_unconfigure(config: pytest.Config) -> None:
    if server is not None:
        server.terminate()
        server.wait(10)
    shutil.rmtree(DATA_DIR, ignore_errors=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and NEEDS.keys() & dict(report.keywords).keys():
        skipped.append(report)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if REQUIRED and skipped and not WORKER:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def missing() -> Iterator[str]:
    """A line for each kind of test that was skipped."""
    for kind, need in NEEDS.items():
        count = sum(kind in dict(report.keywords) for report in skipped)
        if count:
            yield f"{count} {kind} tests were SKIPPED: they need {need}."


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for line in missing():
        terminalreporter.write_line(line, red=REQUIRED, yellow=not REQUIRED, bold=True)
    if REQUIRED and skipped:
        terminalreporter.write_line("REQUIRE_ALL=1 forbids that: the run has failed.", red=True, bold=True)

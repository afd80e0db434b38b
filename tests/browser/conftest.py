"""A real Chromium on the live site. Without one these tests are skipped, loudly; REQUIRE_ALL=1 forbids that."""

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.apps import apps
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import BrowserContext, Page, expect

from breedsite import jobs
from classifier.models import ModelVersion
from tests.artifacts import make_artifact
from tests.pictures import encode, smooth
from tests.squares import make_dataset, make_run
from trainer.models import Dataset, TrainingRun

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=15_000)  # milliseconds; a machine on which others work takes more than the usual 5,000
# Playwright runs an event loop in the test's thread, and Django's ORM would take the fixtures for asynchronous code.
os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if CHROMIUM is None:
                item.add_marker(pytest.mark.skip(reason="Chromium is not installed"))


@pytest.fixture(scope="session")
def browser_type_launch_args(browser_type_launch_args: dict) -> dict:
    return {**browser_type_launch_args, "executable_path": CHROMIUM, "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args: dict) -> dict:
    """Animations off: a test waits for states, not for seconds."""
    return {**browser_context_args, "reduced_motion": "reduce", "locale": "en-GB"}


@pytest.fixture
def complaints(page: Page) -> Iterator[list[str]]:
    """What the browser complains of while a test runs; nothing, but for the statuses a test itself provokes."""
    said: list[str] = []
    page.on("console", lambda message: message.type == "error" and said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    yield said
    assert [text for text in said if not text.startswith("Failed to load resource: the server responded")] == []


@pytest.fixture
def site(live_server, active_version: ModelVersion, page: Page, complaints: list[str], settings) -> Page:
    """A page that opened the site, on which a version with five labels answers."""
    settings.PREDICT_RATE = None
    page.goto(live_server.url)
    return page


@pytest.fixture
def activate(tmp_path: Path) -> Callable[..., ModelVersion]:
    """activate(seed=1, labels=...) makes another model the one that answers."""

    def activate(**changes) -> ModelVersion:
        version = ModelVersion.objects.install(make_artifact(tmp_path / "another", **changes))
        version.activate()
        apps.get_app_config("classifier").stop()
        apps.get_app_config("classifier").start()
        return version

    return activate


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photo to choose."""
    file = tmp_path / "dog.jpg"
    file.write_bytes(encode(smooth(1)))
    return file


@pytest.fixture
def axe() -> Callable[[Page], None]:
    """Fails with axe's own report where it finds anything."""

    def check(page: Page) -> None:
        results = Axe().run(page)
        assert results.violations_count == 0, results.generate_report()

    return check


@pytest.fixture
def examine(axe: Callable[[Page], None], complaints: list[str]) -> Callable[[Page], None]:
    """axe, whose own attempts to style what it looks at the policy refuses: they are no complaint of the page."""

    def examine(page: Page) -> None:
        before = len(complaints)
        # The admin's links fade from one colour scheme to the other.
        page.evaluate("Promise.all(document.getAnimations().map((animation) => animation.finished))")
        axe(page)
        page.evaluate("new Promise(requestAnimationFrame)")  # the last of them come after axe has answered
        complaints[before:] = [text for text in complaints[before:] if "inline style" not in text]

    return examine


@pytest.fixture
def without_script(browser, live_server) -> Iterator[Page]:
    context: BrowserContext = browser.new_context(java_script_enabled=False, base_url=live_server.url)
    yield context.new_page()
    context.close()


@pytest.fixture
def admin(live_server, page: Page, complaints: list[str], settings, tmp_path, monkeypatch) -> Page:
    """The admin, signed in, with a dataset to train on."""
    for name in ("DATASETS_DIR", "RUNS_DIR", "VERSIONS_DIR"):
        setattr(settings, name, tmp_path / name)
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)
    make_dataset()
    client = Client()
    client.force_login(User.objects.create_superuser("admin"))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    page.goto(f"{live_server.url}/admin/")
    return page


@pytest.fixture
def trained(db) -> Callable[[], TrainingRun]:
    """A stopped run with ten epochs, without a process."""

    def make() -> TrainingRun:
        run = make_run(Dataset.objects.get())
        run.stop()  # before it has an epoch, of which a process would make a version first
        for number in range(1, 11):
            run.epochs.create(
                number=number, loss=2 / number, accuracy=number / 12, validation_loss=abs(7 - number) / 5 + 0.5,
                validation_top1=number / 15, learning_rate=0.1 / number, seconds=1.0, images_per_second=20.0,
                trail=[[step, 0.1 / number, 1.0] for step in (1, 2, 3)],
            )  # fmt: skip
        return run

    return make

"""A training from the admin: started by a person, watched while it runs, its version seen; also small and dark."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from playwright.sync_api import Page, expect

from breedsite import jobs
from breedsite.models import Worker
from tests.squares import make_dataset, make_run
from tests.trainings import RECIPE
from trainer import tasks
from trainer.models import TrainingRun
from trainer.models.supervising import supervise
from trainer.recipe import Recipe

pytestmark = pytest.mark.timeout(240)


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


def fill_in(page: Page, recipe: dict[str, Any]) -> None:
    for summary in page.locator("details.group > summary").all():
        summary.press("Enter")
    for name, value in recipe.items():
        field = page.locator(f"[name={name}]")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))


def test_a_person_starts_a_training_watches_it_and_finds_its_version(admin: Page, monkeypatch, examine):
    admin.get_by_role("link", name="Runs").first.click()
    admin.get_by_role("link", name=re.compile("Add run", re.IGNORECASE)).click()
    admin.get_by_label("Dataset").select_option(label="squares:1")
    fill_in(admin, Recipe.from_dict(RECIPE).as_dict())
    examine(admin)
    admin.get_by_role("button", name="Train").click()
    expect(admin.locator("#status")).to_have_text("queued")
    expect(admin.locator("#words")).to_contain_text("no worker is running")
    Worker.objects.beat()
    expect(admin.locator("#words")).to_have_text("Number 1 in the queue.")
    seen = []

    def watch(event: dict[str, Any]) -> None:
        """What the page shows as soon as the process has told an epoch."""
        if event["event"] == "epoch" and event["number"] < 3:
            expect(admin.locator("#epochs tr")).to_have_count(event["number"], timeout=15_000)
            expect(admin.locator("#status")).to_have_text("running")
            seen.append(event["number"])

    def train(run: TrainingRun, *, leaving: Callable[[], bool]) -> bool:
        store = TrainingRun.record

        def record(self: TrainingRun, epoch: dict[str, Any]) -> bool:
            done = store(self, epoch)
            watch({"event": "epoch", **epoch})
            return done

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(TrainingRun, "record", record)
            return supervise(run, leaving=leaving)

    monkeypatch.setattr(tasks, "supervise", train)
    tasks.train_runs()
    expect(admin.locator("#status")).to_have_text("finished", timeout=15_000)
    assert seen == [1, 2]
    expect(admin.locator("#epochs tr")).to_have_count(3)
    expect(admin.locator("#epochs tr.best")).to_have_count(1)
    expect(admin.locator("#charts svg .curve.s1")).to_have_count(2)
    expect(admin.locator("#charts svg .dot.best")).to_have_count(2)
    examine(admin)
    admin.locator("#version-link").click()
    expect(admin.locator("h2").filter(has_text="squares:1").first).to_be_visible()
    expect(admin.get_by_text("Measured on 3 photos of the test split")).to_be_visible()


@pytest.fixture
def trained(db) -> Callable[[], TrainingRun]:
    """A stopped run with ten epochs, without a process."""

    def make() -> TrainingRun:
        from trainer.models import Dataset

        run = make_run(Dataset.objects.get())
        for number in range(1, 11):
            run.epochs.create(
                number=number, loss=2 / number, accuracy=number / 12, validation_loss=abs(7 - number) / 5 + 0.5,
                validation_top1=number / 15, learning_rate=0.1 / number, seconds=1.0, images_per_second=20.0,
                trail=[[step, 0.1 / number, 1.0] for step in (1, 2, 3)],
            )  # fmt: skip
        run.stop()
        return run

    return make


def test_curves_tell_their_values_to_the_keyboard_and_obey_their_tools(admin: Page, trained, live_server):
    run = trained()
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{run.pk}/change/")
    loss = admin.locator("figure").filter(has_text="Loss by epoch")
    expect(loss.locator("output")).to_contain_text("validation 1.1, best 0.5")
    loss.locator("svg").focus()
    admin.keyboard.press("ArrowRight")
    expect(loss.locator("output")).to_contain_text("at 1: train 2 validation 1.7")
    admin.keyboard.press("ArrowRight")
    expect(loss.locator("output")).to_contain_text("at 2: train 1 validation 1.5")
    before = loss.locator(".curve.s1").get_attribute("points")
    admin.locator("#smoothing").fill("0.9")
    assert loss.locator(".curve.s1").get_attribute("points") != before
    admin.get_by_label("log scale").check()
    expect(loss.locator(".curve")).to_have_count(2)


def test_the_buttons_do_what_they_say(admin: Page, trained, live_server):
    run = trained()
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{run.pk}/change/")
    expect(admin.get_by_role("button", name="Stop")).to_be_hidden()
    admin.get_by_role("button", name="Resume").click()
    expect(admin.locator("#status")).to_have_text("queued")
    admin.get_by_role("button", name="Stop").click()
    expect(admin.locator("#status")).to_have_text("stopped")
    admin.get_by_role("button", name="Clone").click()
    expect(admin.locator("#status")).to_have_text("queued")
    assert TrainingRun.objects.count() == 2


def test_two_runs_are_compared_curve_over_curve(admin: Page, trained, live_server, examine):
    trained(), trained()
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/")
    for box in admin.locator("input.action-select").all():
        box.check()
    admin.locator("select[name=action]").select_option("compare")
    admin.get_by_role("button", name=re.compile("Run|Go")).first.click()
    expect(admin.locator("figure").first.locator(".curve")).to_have_count(2)
    examine(admin)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_small_screen_in_both_schemes(admin: Page, trained, live_server, examine, scheme):
    run = trained()
    admin.emulate_media(color_scheme=scheme)
    admin.set_viewport_size({"width": 390, "height": 844})
    for path in (f"{run.pk}/change/", "add/"):
        admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{path}")
        admin.wait_for_load_state("networkidle")
        assert admin.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        examine(admin)

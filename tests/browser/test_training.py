"""A training from the admin: started by a person, watched while it runs, its version seen; also small and dark."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from playwright.sync_api import Page, expect

from breedsite.models import Worker
from classifier.models import ModelVersion
from tests.archives import photos, write_zip
from tests.squares import make_run
from tests.trainings import RECIPE
from trainer import tasks
from trainer.models import Dataset, TrainingRun
from trainer.models.supervising import supervise
from trainer.recipe import Recipe

pytestmark = pytest.mark.timeout(240)


def fill_in(page: Page, recipe: dict[str, Any]) -> None:
    for summary in page.locator("details.group > summary").all():
        summary.press("Enter")
    for name, value in recipe.items():
        field = page.locator(f"[name={name}]")
        if field.evaluate("field => field.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(str(value))


def send_photos(page: Page, folder: Path) -> None:
    """Make a dataset of a zip; the worker's part is done here."""
    archive = write_zip(folder / "shapes.zip", photos(("chow", "pug", "samoyed"), count=12))
    page.get_by_role("link", name="Datasets").first.click()
    page.get_by_role("link", name=re.compile("Add dataset", re.IGNORECASE)).click()
    page.fill("#id_name", "shapes")
    page.set_input_files("#zip", archive)
    page.get_by_role("button", name="Import").click()
    page.wait_for_url("**/change/")
    tasks.import_datasets()


def test_from_a_zip_to_a_training_that_is_watched_and_its_version(
    admin: Page, monkeypatch, examine, tmp_path, settings
):
    settings.UPLOADS_DIR, settings.CORES = tmp_path / "uploads", 1
    send_photos(admin, tmp_path)
    admin.get_by_role("link", name="Train on it").click(timeout=15_000)
    expect(admin.get_by_label("Dataset").locator("option:checked")).to_have_text("shapes:1")
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
    expect(admin.locator("h2").filter(has_text="shapes:1").first).to_be_visible()
    expect(admin.get_by_text(re.compile(r"Measured on \d+ photos of the test split"))).to_be_visible()


def test_a_rate_is_looked_for_and_trained_with_at_a_click(admin: Page, examine):
    """What sweeps is another test's matter: here it has ended."""
    admin.get_by_role("link", name="Runs").first.click()
    admin.get_by_role("link", name=re.compile("Add run", re.IGNORECASE)).click()
    admin.get_by_label("Dataset").select_option(label="squares:1")
    fill_in(admin, Recipe.from_dict(RECIPE).as_dict())
    admin.get_by_role("button", name="Find a learning rate").click()
    expect(admin.locator("#status")).to_have_text("queued")
    expect(admin.get_by_role("button", name="Train with it")).to_be_hidden()
    test = TrainingRun.objects.get()
    points = [[1e-7 * 10 ** (step / 12), 2.0 - step / 100, 2.0 - step / 90] for step in range(90)] + [[4.0, None, None]]
    found = {"points": points, "suggestion": 0.002, "steepest": 0.004, "lowest": 0.02, "sentence": "A tenth of it."}
    rates = {"learning_rate": 0.002, "head_learning_rate": 0.002}
    TrainingRun.objects.filter(pk=test.pk).update(status="finished", found=found | {"changes": rates})
    expect(admin.locator("#suggestion")).to_have_text("learning_rate 0.002, head_learning_rate 0.002", timeout=15_000)
    expect(admin.locator("#charts .curve")).to_have_count(2)
    expect(admin.locator("#charts .mark")).to_have_count(2)
    for scheme, width in (("dark", 390), ("light", 1280)):
        admin.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        admin.set_viewport_size({"width": width, "height": 800})
        examine(admin)
        assert admin.evaluate("document.documentElement.scrollWidth <= innerWidth")
    admin.get_by_role("button", name="Train with it").click()
    expect(admin.locator("h1")).to_contain_text("run")
    training = TrainingRun.objects.get(kind="training")
    assert training.recipe == test.recipe | rates


def test_photos_ticked_in_the_grid_are_on_the_front_page_once_a_version_of_them_answers(
    admin: Page, active_version, live_server, examine
):
    TrainingRun.objects.filter(pk=make_run(Dataset.objects.get()).pk).update(version=active_version)
    ModelVersion.objects.update(is_active=False)
    admin.goto(f"{live_server.url}/admin/trainer/dataset/{Dataset.objects.get().pk}/photos/")
    words = admin.locator("#examples-words")
    admin.locator("#photos li").nth(1).focus()
    admin.keyboard.press("e")
    expect(words).to_have_text("1 of at most 12 are chosen.")
    star = admin.get_by_role("button", name="pug/4.png as an example")
    star.click()
    expect(words).to_have_text("2 of at most 12 are chosen.")
    expect(star).to_have_attribute("aria-pressed", "true")
    admin.keyboard.press("ArrowLeft")
    expect(admin.locator("#photos li").filter(has_text="pug/3.png")).to_be_focused()
    for scheme, width in (("dark", 390), ("light", 1280)):
        admin.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        admin.set_viewport_size({"width": width, "height": 800})
        examine(admin)
    admin.goto(f"{live_server.url}/admin/classifier/modelversion/{active_version.pk}/activate/")
    admin.get_by_role("button", name="Activate tiny:1").click()
    apps.get_app_config("classifier").start().step()  # as the watching thread does every second
    admin.goto(live_server.url)
    expect(admin.locator(".examples img")).to_have_count(2)
    examine(admin)
    admin.get_by_role("button", name="Example 2").click()
    expect(admin.locator("#verdict")).to_have_text(re.compile("This looks like|I am not sure"))


def test_the_buttons_do_what_they_say(admin: Page, trained, live_server):
    run = trained()
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{run.pk}/change/")
    expect(admin.get_by_role("button", name="Stop")).to_be_hidden()
    admin.get_by_role("button", name="Resume").click()
    expect(admin.locator("#status")).to_have_text("queued")
    admin.get_by_role("button", name="Stop").click()
    expect(admin.locator("#words")).to_have_text("It is stopped once a worker has kept its best.")
    expect(admin.get_by_role("button", name="Stop")).to_be_hidden()
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

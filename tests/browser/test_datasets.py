"""Datasets in a real browser: a zip is sent, its import is watched, its report is read."""

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from django.db import connection
from playwright.sync_api import Page, expect

from tests.archives import photos, write_zip
from tests.photos import write_photos
from tests.squares import make_run
from trainer import answers, tasks
from trainer.models import Dataset, TrainingRun, importing


@pytest.fixture
def admin(live_server, page: Page, complaints: list[str], settings, tmp_path: Path, monkeypatch, admin_user) -> Page:
    """The admin, signed in."""
    settings.DATASETS_DIR = tmp_path / "data" / "datasets"
    settings.UPLOADS_DIR = tmp_path / "data" / "uploads"
    settings.CORES = 1
    settings.LOGIN_RATE = None
    monkeypatch.setattr(Dataset, "ring", lambda: True)  # the test rings itself
    page.goto(f"{live_server.url}/admin/trainer/dataset/add/")
    page.fill("#id_username", "admin")
    page.fill("#id_password", "password")
    page.get_by_role("button", name="Log in").click()
    return page


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """Photos in class folders, and a file that is none."""
    members = photos(("chow", "pug"), count=60) | {"pug/broken.png": b"GIF89a"}
    return write_zip(tmp_path / "dogs.zip", members)


def work() -> threading.Thread:
    """A worker's part, beside the browser."""

    def run() -> None:
        try:
            tasks.import_datasets()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def send(page: Page, archive: Path) -> None:
    page.fill("#id_name", "dogs")
    page.set_input_files("#zip", archive)
    page.get_by_role("button", name="Import").click()
    page.wait_for_url("**/change/")


@pytest.fixture
def grid(admin: Page, live_server, tmp_path: Path) -> Page:
    """The photos of an imported dataset."""
    Dataset.objects.enqueue("dogs", write_photos(tmp_path / "photos", count=20), source_kind="server", source_name="x")
    tasks.import_datasets()
    admin.set_viewport_size({"width": 1280, "height": 800})
    admin.goto(f"{live_server.url}/admin/trainer/dataset/{Dataset.objects.get().pk}/change/")
    admin.get_by_role("link", name="Look at the photos").click()
    admin.wait_for_url("**/photos/")  # and its scripts: a key pressed before them is lost
    return admin


def test_photos_are_relabelled_and_left_out_by_keys_alone(grid: Page, examine):
    expect(grid.locator("#photos li")).to_have_count(40)
    expect(grid.locator("#photos img").first).to_have_js_property("naturalWidth", 32)
    for scheme, width in (("dark", 390), ("light", 1280)):
        grid.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        grid.set_viewport_size({"width": width, "height": 800})
        examine(grid)
    keys = grid.keyboard
    grid.locator("#photos li").first.focus()
    keys.press("ArrowRight")
    keys.press("x")
    second = grid.locator("#photos li").nth(1)
    expect(second).to_be_focused()
    expect(second.get_by_text("left out")).to_be_visible()
    keys.press("ArrowRight")
    keys.press("l")
    expect(grid.locator("#relabel-to")).to_be_focused()
    examine(grid)
    keys.type("pug")
    keys.press("Enter")
    third = grid.locator("#photos li").nth(2)
    expect(third.locator(".label")).to_have_text("pug")
    expect(third).to_be_focused()
    keys.press("ArrowLeft")
    keys.press("x")
    expect(second.get_by_text("left out")).to_be_hidden()
    keys.press("u")
    expect(second.get_by_text("left out")).to_be_visible()
    expect(grid.locator("#changes-words")).to_have_text("2 photos are changed.")
    grid.reload()
    expect(grid.locator("#changes-words")).to_have_text("2 photos are changed.")
    examine(grid)
    grid.get_by_role("button", name="Save as the next version").click()
    grid.wait_for_url("**/change/")
    tasks.import_datasets()
    new = Dataset.objects.get(number=2)
    assert new.status == "ready"
    assert list(new.photos.filter(excluded=True).values_list("name", flat=True)) == ["chow/1.png"]
    assert new.photos.filter(label="pug").count() == 21


def test_all_changes_can_be_discarded(grid: Page):
    for number, words in enumerate(("1 photo is changed.", "2 photos are changed.", "3 photos are changed.")):
        grid.locator("#photos li").nth(number).press("x")
        expect(grid.locator("#changes-words")).to_have_text(words)
    grid.get_by_role("button", name="Undo").click()
    expect(grid.locator("#changes-words")).to_have_text("2 photos are changed.")
    grid.get_by_role("button", name="Discard all").click()
    expect(grid.locator("#changes")).to_be_hidden()
    grid.reload()
    expect(grid.locator("#changes")).to_be_hidden()


def test_a_zip_is_sent_and_its_report_appears_by_itself(admin: Page, archive: Path, examine, monkeypatch):
    monkeypatch.setattr(importing, "LOOK_SECONDS", 0)
    examine(admin)
    send(admin, archive)
    waits = "Number 1 in the queue, but no worker is running: it begins when one is started."
    expect(admin.locator("#import-words")).to_have_text(waits)
    examine(admin)
    worker = work()
    expect(admin.get_by_role("cell", name="60").first).to_be_visible(timeout=30_000)
    worker.join(30)
    expect(admin.get_by_text("1 photo cannot be read and is left out.")).to_be_visible()
    expect(admin.get_by_text("pug/broken.png: ")).to_be_visible()
    for scheme, width in (("light", 1280), ("dark", 390)):
        admin.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        admin.set_viewport_size({"width": width, "height": 800})
        examine(admin)


def test_a_broken_connection_costs_one_piece(admin: Page, archive: Path, complaints: list[str]):
    broken = []

    def break_first(route) -> None:
        if broken:
            route.continue_()
        else:
            broken.append(time.monotonic())
            route.abort()

    admin.route("**/upload/**", break_first)
    admin.evaluate("document.getElementById('import-form').dataset.pieceBytes = 20000")
    send(admin, archive)
    assert complaints == ["Failed to load resource: net::ERR_FAILED"]
    complaints.clear()
    assert broken and Dataset.objects.get().source_name == "dogs.zip"


def test_what_is_no_zip_is_refused_before_it_is_sent_whole(admin: Page, tmp_path: Path):
    (tmp_path / "dogs.zip").write_bytes(b"Rar!" + bytes(5_000_000))
    admin.fill("#id_name", "dogs")
    admin.set_input_files("#zip", tmp_path / "dogs.zip")
    admin.get_by_role("button", name="Import").click()
    expect(admin.locator("#upload-words")).to_have_text("This is not a zip archive: send a zip.")
    expect(admin.get_by_role("button", name="Import")).to_be_enabled()


def test_an_import_is_cancelled_by_its_button(admin: Page, archive: Path):
    send(admin, archive)
    admin.get_by_role("button", name="Cancel the import").click()
    expect(admin.get_by_text("The import of dogs:1 is being cancelled.")).to_be_visible()
    expect(admin.locator(".field-status .readonly")).to_have_text("cancelled")


def test_photos_are_selected_and_changed_by_touch_alone(grid: Page, browser, live_server, examine):
    """At 390 pixels: tap photos, then the buttons at the bottom."""
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    context.add_cookies(grid.context.cookies())
    page = context.new_page()
    page.goto(grid.url)
    photo = page.locator("#photos li")
    expect(page.locator("#selection")).to_be_hidden()
    for number in (1, 2):
        photo.nth(number).locator("img").tap()
    expect(page.locator("#selection-words")).to_have_text("2 selected")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    examine(page)
    page.locator("#selection-out").tap()
    expect(page.locator("#selection-out")).to_have_text("Take in again")
    for number in (1, 2):
        expect(photo.nth(number).get_by_text("left out")).to_be_visible()
    page.locator("#changes-undo").tap()
    for number in (1, 2):
        expect(photo.nth(number).get_by_text("left out")).to_be_hidden()
    page.locator("#selection-relabel").tap()
    page.locator("#relabel-to").fill("pug")
    page.locator("#relabel").get_by_role("button", name="Relabel").tap()
    expect(photo.nth(2).locator(".label")).to_have_text("pug")
    photo.nth(1).locator("img").tap()
    expect(page.locator("#selection-words")).to_have_text("1 selected")
    page.locator("#selection-out").tap()
    page.locator("#selection-clear").tap()
    expect(page.locator("#selection")).to_be_hidden()
    expect(page.locator("#changes-words")).to_have_text("2 photos are changed.")
    page.get_by_role("button", name="Save as the next version").tap()
    page.wait_for_url("**/change/")
    tasks.import_datasets()
    new = Dataset.objects.get(number=2)
    assert new.photos.filter(label="pug").count() == 22
    assert list(new.photos.filter(excluded=True).values_list("name", flat=True)) == ["chow/10.png"]
    context.close()


def test_a_key_gives_the_label_that_was_answered(grid: Page, settings, tmp_path: Path, active_version):
    """On the page of likely wrong labels, where a click selects and a key acts on all that is selected."""
    settings.RUNS_DIR = tmp_path / "runs"
    dataset = Dataset.objects.get()
    run = make_run(dataset)
    TrainingRun.objects.filter(pk=run.pk).update(version=active_version, status="finished")
    photos_ = list(dataset.photos.filter(part="train").order_by("pk"))
    probabilities = np.tile([0.1, 0.9], (len(photos_), 1))  # "pug" to everything
    labels = np.array([dataset.labels.index(one.label) for one in photos_])
    run.folder.mkdir(parents=True)
    answers.write(
        run.answers, answers.in_order([answers.rows(probabilities, labels, [one.pk for one in photos_], part="train")])
    )
    grid.reload()
    grid.select_option("select[name=run]", str(run.pk))
    grid.get_by_role("button", name="Show").click()
    first = grid.locator("#photos li").first
    expect(first.locator(".label")).to_have_text("chow")
    first.press("a")
    expect(first.locator(".label")).to_have_text("pug")
    for number in (1, 2):
        grid.locator("#photos li").nth(number).locator("img").click()
    grid.locator("#photos li").nth(2).press("x")
    expect(grid.locator("#changes-words")).to_have_text("3 photos are changed.")
    grid.locator("#photos li").nth(2).press("u")
    expect(grid.locator("#changes-words")).to_have_text("1 photo is changed.")

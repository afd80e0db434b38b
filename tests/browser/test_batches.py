"""Batches in a real browser: photos are dropped, their answers watched, filtered and taken away."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from playwright.sync_api import Page, expect

from breedsite import jobs
from classifier import tasks
from classifier.models import Batch, predicting
from classifier.views import batch as page_of_one
from tests.pictures import encode, smooth


@pytest.fixture
def signed_in(site: Page, live_server, settings, tmp_path: Path, monkeypatch) -> Page:
    """The page of batches, for somebody with an account. The test is the worker."""
    settings.BATCHES_DIR = tmp_path / "batches"
    settings.CORES = 1
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)
    predicting.loaded.cache_clear()
    page_of_one.reading.cache_clear()
    client = Client()
    client.force_login(User.objects.create_user("ann"))
    cookie = client.cookies[settings.SESSION_COOKIE_NAME]
    site.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
    site.goto(f"{live_server.url}/batches/")
    return site


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Three photos and a text."""
    folder = tmp_path / "chosen"
    folder.mkdir()
    for number in range(3):
        (folder / f"{number}.jpg").write_bytes(encode(smooth(number)))
    (folder / "notes.txt").write_text("not a photo")
    return sorted(folder.iterdir())


def work() -> threading.Thread:
    """A worker's part, beside the browser."""

    def run() -> None:
        try:
            tasks.predict_batches()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


DROP = """(files) => {
  const transfer = new DataTransfer();
  for (const { name, bytes } of files) transfer.items.add(new File([new Uint8Array(bytes)], name));
  for (const type of ["dragenter", "dragover", "drop"]) {
    document.body.dispatchEvent(new DragEvent(type, { dataTransfer: transfer, bubbles: true, cancelable: true }));
  }
}"""


def drop(page: Page, files: list[Path]) -> None:
    page.evaluate(DROP, [{"name": file.name, "bytes": list(file.read_bytes())} for file in files])


def everywhere(page: Page, examine) -> None:
    """axe in both colour schemes and at two widths, and nothing that has to be scrolled sideways."""
    for scheme, width in (("dark", 390), ("light", 390), ("dark", 1280), ("light", 1280)):
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 844})
        examine(page)
        assert page.evaluate("document.documentElement.scrollWidth") == width


def test_photos_are_dropped_watched_filtered_and_taken_away(signed_in: Page, files: list[Path], examine):
    page = signed_in
    everywhere(page, examine)
    drop(page, files)
    expect(page.locator("#chosen")).to_contain_text("4 files")
    expect(page.locator("#chosen li")).to_have_text([r"0.jpg", "1.jpg", "2.jpg", "notes.txt"])
    everywhere(page, examine)
    page.fill("input[name=name]", "March")
    page.get_by_role("button", name="Ask about 4 files").click()
    page.wait_for_url("**/batches/*/")
    expect(page.locator("#state")).to_contain_text("Number 1 in the queue")
    everywhere(page, examine)
    worker = work()
    expect(page.locator("#state")).to_have_text("3 answered, 1 cannot be used.", timeout=30_000)
    worker.join(30)
    expect(page.get_by_role("heading", name="March")).to_be_visible()
    grid = page.locator(".grid li")
    expect(grid).to_have_count(4)
    for number in range(3):
        expect(grid.nth(number).locator("img")).to_have_js_property("naturalWidth", 320)
    everywhere(page, examine)
    page.get_by_label("Show").select_option("refused")
    page.get_by_role("button", name="Show").click()
    expect(grid).to_have_count(1)
    expect(grid).to_contain_text("Unsupported format")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV", exact=True).click()
    lines = Path(download.value.path()).read_text().splitlines()
    assert len(lines) == 5 and lines[4].startswith("4,notes.txt,refused,unsupported_format")
    page.go_back()
    grid.first.get_by_role("link").click()
    expect(page.locator(".bars li")).to_have_count(5)
    everywhere(page, examine)
    page.get_by_role("link", name="Later").click()
    page.wait_for_url("**/2/")
    page.get_by_role("link", name="Batches").first.click()
    expect(page.locator(".lines li")).to_contain_text(["March"])
    everywhere(page, examine)


LOSE = """() => {
  const real = window.fetch;
  window.fetch = async (address, options) => {
    const answer = await real(address, options);
    if (!String(address).endsWith("/files") || window.lost) return answer;
    window.lost = true;
    throw new TypeError("Failed to fetch");
  };
}"""


def test_an_answer_that_nobody_heard_doubles_no_photo(signed_in: Page, files: list[Path]):
    page = signed_in
    page.evaluate(LOSE)
    page.set_input_files("#photos", files)
    page.get_by_role("button", name="Ask about 4 files").click()
    expect(page.locator("#chosen [data-part=status]")).to_have_text("The connection broke; trying again …")
    page.wait_for_url("**/batches/*/")
    assert list(Batch.objects.get().items.order_by("position").values_list("name", flat=True)) == [
        file.name for file in files
    ]


def test_a_zip_goes_in_pieces(signed_in: Page, files: list[Path], tmp_path: Path):
    page = signed_in
    with zipfile.ZipFile(tmp_path / "march.zip", "w") as made:
        for file in files:
            made.write(file, file.name)
        made.writestr("large.bin", bytes(5_000_000))
    page.set_input_files("#photos", tmp_path / "march.zip")
    pieces = []
    page.on("request", lambda request: "/archive" in request.url and pieces.append(request.url))
    page.get_by_role("button", name="Ask about the zip").click()
    page.wait_for_url("**/batches/*/")
    worker = work()
    expect(page.locator("#state")).to_have_text("3 answered, 2 cannot be used.", timeout=30_000)
    worker.join(30)
    assert len(pieces) == 3
    expect(page.get_by_role("heading", name="march.zip")).to_be_visible()


def test_a_photo_that_is_too_large_is_shrunk_and_another_gets_its_line(signed_in: Page, settings, tmp_path: Path):
    page = signed_in
    settings.MAX_IMAGE_BYTES = 500_000
    page.reload()
    (tmp_path / "large.jpg").write_bytes(encode(smooth(3, size=(4000, 3000)), quality=100))
    (tmp_path / "large.txt").write_bytes(b"x" * 600_000)
    assert (tmp_path / "large.jpg").stat().st_size > 500_000
    page.set_input_files("#photos", [tmp_path / "large.jpg", tmp_path / "large.txt"])
    page.get_by_role("button", name="Ask about 2 files").click()
    page.wait_for_url("**/batches/*/")
    assert list(Batch.objects.get().items.order_by("position").values_list("name", "code")) == [
        ("large.jpg", ""),
        ("large.txt", "file_too_large"),
    ]


def test_a_refusal_is_said_and_photos_stay_chosen(signed_in: Page, files, active_version, examine):
    page = signed_in
    active_version.__class__.objects.update(is_active=False)
    page.set_input_files("#photos", files)
    no = '{"detail": "Not today.", "code": "malformed_request"}'
    page.route("**/api/batches", lambda route: route.fulfill(status=400, content_type="application/json", body=no))
    page.get_by_role("button", name="Ask about 4 files").click()
    expect(page.locator("#problem")).to_have_text("Not today.")
    expect(page.locator("#problem")).to_be_focused()
    examine(page)
    page.unroute("**/api/batches")
    page.locator("#answered-by").click()
    page.get_by_label("tiny:1").check()
    page.get_by_role("button", name="Ask about 4 files").click()
    page.wait_for_url("**/batches/*/")


def test_without_javascript_one_form_does_it(
    signed_in: Page, without_script: Page, files: list[Path], examine, settings
):
    page = without_script
    page.context.add_cookies(signed_in.context.cookies())
    page.goto("/batches/")
    page.set_input_files("#photos", files)
    page.get_by_role("button", name="Ask about them").click()
    page.wait_for_url("**/batches/*/")
    tasks.predict_batches()
    page.reload()
    expect(page.locator(".grid li")).to_have_count(4)
    page.get_by_text("Delete", exact=True).click()
    page.get_by_role("button", name="Delete it").click()
    page.wait_for_url("**/batches/")
    assert not Batch.objects.exists()

"""Ways to ask, and what is seen then."""

import json
import re
from pathlib import Path

import pytest
from django.apps import apps
from playwright.sync_api import Page, Route, expect

from tests.pictures import encode, noise, smooth

API = "**/api/predictImage"
ANSWER = re.compile("This looks like|I am not sure")


def choose(page: Page, file: Path) -> None:
    page.set_input_files("#photo", file)


def give(page: Page, event: str, data: bytes | None, *, on: str = "body", name: str = "dog.jpg") -> None:
    """A drop or a paste of a file on an element, as the system would send it; `data=None` carries text instead."""
    page.evaluate(
        """([event, on, bytes, name]) => {
            const carried = new DataTransfer();
            if (bytes) carried.items.add(new File([new Uint8Array(bytes)], name));
            else carried.setData("text/plain", "text");
            const target = document.querySelector(on);
            const options = {bubbles: true, cancelable: true};
            target.dispatchEvent(event === "paste"
                ? new ClipboardEvent("paste", {...options, clipboardData: carried})
                : new DragEvent(event, {...options, dataTransfer: carried}));
        }""",
        [event, on, data and list(data), name],
    )


def problem(route: Route, status: int, code: str, detail: str, **headers: str) -> None:
    body = json.dumps({"status": status, "code": code, "detail": detail})
    route.fulfill(status=status, body=body, headers={"content-type": "application/problem+json", **headers})


def test_a_chosen_photo_is_answered_beside_itself(site: Page, photo: Path):
    with site.expect_response(API) as reply:
        choose(site, photo)
    said = reply.value.json()
    expect(site.locator("#verdict")).to_have_text(said["message"])
    expect(site.locator("#verdict")).to_be_focused()
    expect(site).to_have_title(f"{said['message']} · breedsite")
    assert site.locator(".shot img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 320
    assert site.locator("meter").evaluate_all("all => all.map(meter => meter.value)") == pytest.approx(
        [row["probability"] for row in said["top"]]
    )
    numbers = [int(re.sub(r"\D", "", text)) for text in site.locator(".bars .number").all_inner_texts()]
    assert numbers == [min(99, max(1, round(100 * row["probability"]))) for row in said["top"]]


def test_labels_are_shown_as_names(site: Page, photo: Path):
    choose(site, photo)
    expect(site.locator(".bars .name", has_text="Border Collie")).to_have_count(1)
    assert "border_collie" not in site.locator("main").inner_text()


def test_a_photo_may_be_dropped_anywhere(site: Page):
    give(site, "dragenter", b"x")
    expect(site.locator("body")).to_have_class("dragging")
    give(site, "drop", encode(smooth(2)), on="footer")
    expect(site.locator("body")).not_to_have_class("dragging")
    expect(site.locator("#verdict")).to_have_text(ANSWER)


def test_of_several_photos_the_first_is_taken_and_that_is_said(site: Page):
    site.evaluate(
        """bytes => {
            const carried = new DataTransfer();
            for (const name of ["1.jpg", "2.jpg"]) carried.items.add(new File([new Uint8Array(bytes)], name));
            document.body.dispatchEvent(new DragEvent("drop", {bubbles: true, dataTransfer: carried}));
        }""",
        list(encode(smooth(2))),
    )
    expect(site.locator("[data-part='note']")).to_have_text("Only the first of 2 files was looked at.")


def test_the_page_calms_down_when_the_photo_is_carried_away(site: Page):
    give(site, "dragenter", b"x")
    give(site, "dragenter", b"x", on="footer")
    give(site, "dragleave", b"x")
    expect(site.locator("body")).to_have_class("dragging")
    give(site, "dragleave", b"x", on="footer")
    expect(site.locator("body")).not_to_have_class("dragging")


def test_a_picture_may_be_pasted(site: Page):
    give(site, "paste", encode(smooth(3), "PNG"), name="image.png")
    expect(site.locator("#verdict")).to_have_text(ANSWER)


def test_pasted_text_is_left_alone(site: Page):
    give(site, "paste", None)
    expect(site.locator("#stage")).to_have_attribute("data-state", "empty")


def test_a_phone_is_offered_its_camera(browser, live_server, active_version):
    context = browser.new_context(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    page = context.new_page()
    page.goto(live_server.url)
    expect(page.get_by_text("Take a photo", exact=True)).to_be_visible()
    expect(page.locator("#camera")).to_have_attribute("capture", "environment")
    expect(page.get_by_text("paste one with")).to_be_hidden()
    page.set_input_files("#camera", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": encode(smooth(4))})
    expect(page.locator("#verdict")).to_have_text(ANSWER)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    context.close()


def test_examples_are_one_click_away(site: Page, settings, tmp_path: Path):
    settings.EXAMPLES_DIR = tmp_path / "examples"
    settings.EXAMPLES_DIR.mkdir()
    (settings.EXAMPLES_DIR / "1.png").write_bytes(encode(smooth(5), "PNG"))
    site.reload()
    site.get_by_role("button", name="Example 1").click()
    expect(site.locator("#verdict")).to_have_text(ANSWER)


@pytest.fixture
def received(site: Page, monkeypatch) -> list[bytes]:
    """The photos that reach the predictor."""
    predictor = apps.get_app_config("classifier").predictor
    predict, photos = predictor.predict, []
    monkeypatch.setattr(predictor, "predict", lambda data: photos.append(data) or predict(data))
    return photos


def test_what_is_within_the_limit_is_sent_as_it_is(site: Page, photo: Path, received: list[bytes]):
    choose(site, photo)
    expect(site.locator("#verdict")).to_be_visible()
    assert received == [photo.read_bytes()]
    expect(site.locator("[data-part='note']")).to_be_hidden()


def test_the_name_of_the_file_stays_here(site: Page, photo: Path):
    site.evaluate(
        """() => {
            const append = FormData.prototype.append;
            FormData.prototype.append = function (...all) { window.sent = all; return append.apply(this, all); };
        }"""
    )
    choose(site, photo)
    expect(site.locator("#verdict")).to_be_visible()
    assert site.evaluate("[sent[0], sent[2]]") == ["image", "photo"]


def test_what_is_above_the_limit_is_shrunk_and_the_page_says_so(site: Page, tmp_path: Path, received: list[bytes]):
    large = tmp_path / "large.png"
    large.write_bytes(encode(noise(1, (2800, 1400)), "PNG", compress_level=0))
    assert large.stat().st_size > 10 * 1024**2
    choose(site, large)
    expect(site.locator("[data-part='note']")).to_contain_text("11.2 MB and the limit is 10 MB, so it was shrunk here")
    expect(site.locator("[data-part='note']")).to_contain_text("2560 × 1280 pixels")
    [data] = received
    assert data.startswith(b"\xff\xd8\xff") and len(data) < 10 * 1024**2


def test_what_is_above_the_limit_and_no_picture_is_not_sent(site: Page, tmp_path: Path):
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(11 * 1024**2))
    site.route(API, lambda route: pytest.fail("it was sent"))
    choose(site, film)
    expect(site.locator("#problem")).to_contain_text("11 MB and your browser cannot read it as a picture")


def test_a_photo_of_an_iphone_is_answered_in_words_before_it_is_sent(site: Page, tmp_path: Path):
    heic = tmp_path / "IMG_0001.HEIC"
    heic.write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    site.route(API, lambda route: pytest.fail("it was sent"))
    choose(site, heic)
    expect(site.locator("#problem")).to_contain_text("HEIC photo from an iPhone")
    expect(site.locator("#problem")).to_be_focused()


def test_a_refusal_is_the_server_s_sentence(site: Page, tmp_path: Path):
    file = tmp_path / "x.gif"
    file.write_bytes(b"GIF89a" + bytes(100))
    with site.expect_response(API) as reply:
        choose(site, file)
    expect(site.locator("#problem [data-part='sentence']")).to_have_text(reply.value.json()["detail"])
    expect(site.locator("#verdict")).to_have_count(0)


def test_after_a_refusal_the_next_photo_is_answered(site: Page, tmp_path: Path, photo: Path):
    choose(site, tmp_path / photo.name)
    expect(site.locator("#verdict")).to_be_visible()
    give(site, "drop", b"not a photo")
    expect(site.locator("#problem")).to_be_visible()
    expect(site.locator("#verdict")).to_be_hidden()
    choose(site, photo)
    expect(site.locator("#verdict")).to_be_visible()
    expect(site.locator("#problem")).to_be_hidden()


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [
        (503, "overloaded", "Very busy just now."),
        (429, "rate_limited", "Many photos came from here just now."),
        (503, "starting", "The site is just starting."),
    ],
)
def test_a_passing_refusal_is_announced_and_asked_again(site: Page, photo: Path, status: int, code: str, reason: str):
    answers = iter([True, False])

    def once(route: Route) -> None:
        if next(answers):
            problem(route, status, code, "Too many photos at once.", **{"retry-after": "2"})
        else:
            route.continue_()

    site.route(API, once)
    choose(site, photo)
    expect(site.get_by_role("status").first).to_have_text(reason)
    expect(site.locator("[data-part='countdown']")).to_have_text("Asking again in 2 s.")
    expect(site.locator("[data-part='countdown']")).to_have_text("Asking again in 1 s.")
    expect(site.locator("#verdict")).to_be_visible()


def test_it_does_not_wait_for_longer_than_a_person_would(site: Page, photo: Path):
    refusal = "Come back in an hour."
    site.route(API, lambda route: problem(route, 429, "rate_limited", refusal, **{"retry-after": "3600"}))
    choose(site, photo)
    expect(site.locator("#problem [data-part='sentence']")).to_have_text(refusal)


def test_what_will_not_pass_is_said_at_once(site: Page, photo: Path):
    refusal = "No version answers yet."
    site.route(API, lambda route: problem(route, 503, "no_active_model", refusal, **{"retry-after": "2"}))
    choose(site, photo)
    expect(site.locator("#problem [data-part='sentence']")).to_have_text(refusal)


def test_a_lost_connection_is_said(site: Page, photo: Path, complaints: list[str]):
    site.route(API, lambda route: route.abort())
    choose(site, photo)
    expect(site.locator("#problem")).to_contain_text("could not be reached")
    complaints.clear()  # the browser reports the lost connection itself


def test_a_page_of_a_proxy_is_no_answer(site: Page, photo: Path):
    site.route(API, lambda route: route.fulfill(status=200, body="<html>sign in to the wifi</html>"))
    choose(site, photo)
    expect(site.locator("#problem")).to_contain_text("nothing readable")


def test_waiting_can_be_cancelled(site: Page, photo: Path):
    held: list[Route] = []
    site.route(API, lambda route: held.append(route))
    choose(site, photo)
    expect(site.get_by_role("button", name="Cancel")).to_be_focused()
    expect(site.locator("#working img")).to_be_visible()
    site.keyboard.press("Enter")
    expect(site.locator("#stage")).to_have_attribute("data-state", "empty")
    expect(site.locator("#photo")).to_be_focused()
    expect(site.locator("#problem")).to_be_hidden()


def test_a_second_photo_takes_the_place_of_the_first(site: Page, photo: Path):
    held: list[Route] = []
    site.route(API, lambda route: held.append(route) if not held else route.continue_())
    choose(site, photo)
    expect(site.locator("#working")).to_be_visible()
    give(site, "drop", encode(smooth(6)))
    expect(site.locator("#verdict")).to_be_visible()


def test_a_slow_upload_shows_how_far_it_is(site: Page, tmp_path: Path):
    slow = site.context.new_cdp_session(site)
    slow.send("Network.enable")
    limits = {"offline": False, "latency": 20, "downloadThroughput": -1, "uploadThroughput": 400_000}  # bytes a second
    slow.send("Network.emulateNetworkConditions", limits)
    file = tmp_path / "large.png"
    file.write_bytes(encode(noise(2, (800, 800)), "PNG"))
    choose(site, file)
    expect(site.get_by_role("progressbar", name="Upload")).to_be_visible()
    expect(site.locator("[data-part='status']")).to_have_text("Sending the photo…")
    assert 0 < site.locator("progress").evaluate("bar => bar.value") <= 1
    expect(site.locator("#verdict")).to_be_visible(timeout=20_000)

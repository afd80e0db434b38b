"""What can be done with an answer."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.artifacts import make_spec

API = "**/api/predictImage"


@pytest.fixture
def answered(site: Page, photo: Path) -> Page:
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    site.set_input_files("#photo", photo)
    expect(site.locator("#verdict")).to_be_visible()
    return site


def clipboard(page: Page) -> str:
    return page.evaluate("navigator.clipboard.readText()")


def test_all_labels_are_listed_and_filtered(answered: Page):
    answered.get_by_text("All 5", exact=True).click()
    rows = answered.locator(".all li")
    expect(rows).to_have_count(5)
    answered.get_by_label("Filter").fill("COLL")
    expect(rows.filter(visible=True)).to_have_count(1)
    expect(rows.filter(visible=True)).to_contain_text("Border Collie")
    answered.get_by_label("Filter").fill("zebra")
    expect(answered.get_by_text("None of them is called that.")).to_be_visible()
    answered.get_by_label("Filter").fill("")
    expect(rows.filter(visible=True)).to_have_count(5)


def test_the_list_of_all_is_sorted_and_complete(answered: Page):
    answered.get_by_text("All 5", exact=True).click()
    shares = [float(re.sub(r"[^\d.]", "", text)) for text in answered.locator(".all .number").all_inner_texts()]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.5)


def test_the_answer_is_copied_as_json(site: Page, photo: Path):
    site.context.grant_permissions(["clipboard-read", "clipboard-write"])
    with site.expect_response(API) as reply:
        site.set_input_files("#photo", photo)
    button = site.get_by_role("button", name="Copy as JSON")
    button.click()
    expect(site.get_by_role("button", name="Copied")).to_be_visible()
    assert json.loads(clipboard(site)) == reply.value.json()
    expect(button).to_be_visible()


def test_a_forbidden_clipboard_is_said(site: Page):
    site.evaluate("() => { navigator.clipboard.writeText = () => Promise.reject(new Error('no')); }")
    site.get_by_role("button", name="Copy the curl line").click()
    expect(site.get_by_role("button", name="Not allowed here")).to_be_visible()


@pytest.mark.parametrize("name", ["curl", "python"])
def test_the_lines_for_programs_are_copied(answered: Page, live_server, name: str):
    answered.get_by_role("button", name=f"Copy the {name} line", exact=False).click()
    expect(answered.get_by_role("button", name="Copied")).to_be_visible()
    assert f"{live_server.url}/api/predictImage" in clipboard(answered)


def test_an_unsure_answer_looks_unsure(site: Page, photo: Path, activate):
    activate(calibration=replace(make_spec().calibration, unsure_below=1.0))
    site.reload()
    site.set_input_files("#photo", photo)
    expect(site.locator("#verdict")).to_contain_text("I am not sure. It may be")
    expect(site.locator(".result")).to_have_class("result unsure")


def test_an_answer_of_another_version_is_shown_in_its_own_labels(site: Page, photo: Path, activate):
    version = activate(seed=1, labels=("ant", "bee", "cat"), quality=None)
    site.set_input_files("#photo", photo)
    expect(site.locator("#verdict")).to_have_text(re.compile("(an Ant|a Bee|a Cat)[.]$"))
    expect(site.locator(".bars li")).to_have_count(3)
    expect(site.locator(".card")).to_contain_text(version.digest[:12])
    expect(site.locator(".card")).to_contain_text("Nobody has measured this version.")


@pytest.mark.parametrize("stale", [2, 99])
def test_names_come_from_a_page_of_the_version_that_answered_or_not_at_all(
    site: Page, photo: Path, activate, live_server, stale: int
):
    """While a version is swapped the page may come from a process that still has the one before."""
    old = site.request.get(f"{live_server.url}/").text()
    before = site.locator(".card code").inner_text()
    fetched = []

    def page(route: Route) -> None:
        fetched.append(route)
        route.fulfill(body=old, content_type="text/html") if len(fetched) <= stale else route.continue_()

    site.route(f"{live_server.url}/", page)
    version = activate(seed=1, labels=("ant", "bee", "cat"), quality=None)
    with site.expect_response(API) as reply:
        site.set_input_files("#photo", photo)
    expect(site.locator(".bars li")).to_have_count(3)
    names = site.locator(".bars .name").all_inner_texts()
    best = [row["label"] for row in reply.value.json()["top"]]
    if stale == 2:
        assert names == [label.capitalize() for label in best] and len(fetched) == 3
        expect(site.get_by_text("All 3", exact=True)).to_be_visible()
        expect(site.locator(".card code")).to_have_text(version.digest[:12])
    else:
        assert names == best
        expect(site.locator(".all")).to_be_hidden()
        expect(site.locator(".card code")).to_have_text(before)


def test_hostile_labels_stay_text(site: Page, photo: Path, activate):
    dialogs = []
    site.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    activate(labels=("<img src=x onerror=alert(1)>", "</script><script>alert(2)</script>", "c"), quality=None)
    site.reload()
    site.set_input_files("#photo", photo)
    expect(site.locator(".bars li")).to_have_count(3)
    expect(site.locator(".bars")).to_contain_text("</script><script>alert(2)</script>")
    assert dialogs == [] and site.locator("main img[src=x]").count() == 0


def test_bars_and_numbers_grow_to_what_they_are(browser, live_server, active_version, photo: Path):
    """Frames come 50 ms after each other on the page's own clock, however long the machine takes for each."""
    page = browser.new_context(reduced_motion="no-preference").new_page()
    page.add_init_script(
        """{
            let now = 0;
            window.seen = [];
            performance.now = () => now;
            window.requestAnimationFrame = (draw) => setTimeout(() => {
                draw((now += 50));
                const meter = document.querySelector("#result meter");
                if (meter) seen.push(meter.value);
            });
        }"""
    )
    page.goto(live_server.url)
    with page.expect_response(API) as reply:
        page.set_input_files("#photo", photo)
    first = reply.value.json()["top"][0]["probability"]
    page.wait_for_function("value => seen.at(-1) === value", arg=first, polling=50)
    grown = page.evaluate("seen")
    assert grown == sorted(grown)
    assert len(set(grown)) == 14, "of 700 ms"
    page.context.close()

"""Who cannot see, point or run scripts; and what the policy of the site allows."""

from pathlib import Path

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page, expect


@pytest.fixture(params=["light", "dark"])
def scheme(request, page: Page) -> str:
    page.emulate_media(color_scheme=request.param, reduced_motion="reduce")
    return request.param


LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


def enter(page: Page, state: str, photo: Path) -> None:
    """Bring the page into one of its states."""
    if state == "answered":
        page.set_input_files("#photo", photo)
        page.get_by_text("All 5", exact=True).click()
    elif state == "unsure":
        page.set_input_files("#photo", photo)
        expect(page.locator(".result")).to_be_visible()
        page.locator(".result").evaluate("result => result.classList.add('unsure')")
    elif state == "refused":
        page.set_input_files("#photo", {"name": "x.gif", "mimeType": "image/gif", "buffer": b"GIF89a" + bytes(99)})
        expect(page.locator("#problem")).to_be_visible()
    elif state == "waiting":
        page.route("**/api/predictImage", lambda route: None)
        page.set_input_files("#photo", photo)
        expect(page.locator("#working")).to_be_visible()


@pytest.mark.parametrize("state", ["empty", "waiting", "answered", "unsure", "refused"])
def test_axe_finds_nothing_and_nothing_sticks_out(site: Page, photo: Path, axe, state: str):
    enter(site, state, photo)
    for scheme, width in LOOKS:
        site.emulate_media(color_scheme=scheme)
        site.set_viewport_size({"width": width, "height": 844})
        axe(site)
        assert site.evaluate("document.documentElement.scrollWidth") <= width


def test_axe_finds_nothing_where_nobody_answers(page: Page, scheme: str, live_server, versions_dir, axe, complaints):
    page.goto(live_server.url)
    expect(page.get_by_role("heading", name="Nobody is awake yet")).to_be_visible()
    axe(page)


def test_axe_finds_nothing_on_an_error(site: Page, scheme: str, live_server, axe):
    site.goto(f"{live_server.url}/nowhere")
    expect(site.get_by_role("heading", name="Not found")).to_be_visible()
    axe(site)


def test_a_keyboard_is_enough(site: Page, photo: Path):
    def tab_to(role: str, name: str) -> None:
        target = site.get_by_role(role, name=name).first
        for _ in range(30):
            site.keyboard.press("Tab")
            if target.evaluate("element => element === document.activeElement"):
                return
        pytest.fail(f"the Tab key does not reach {name}")

    site.on("filechooser", lambda chooser: None)  # from now on, for Playwright's own beginning comes too late for a key
    site.keyboard.press("Tab")
    expect(site.get_by_role("link", name="Skip to the content")).to_be_focused()
    site.keyboard.press("Enter")
    site.keyboard.press("Tab")
    expect(site.locator("#photo")).to_be_focused()
    ring = site.locator("label:has(#photo) .button").evaluate("button => getComputedStyle(button).outlineStyle")
    assert ring == "solid"
    with site.expect_file_chooser() as chooser:
        site.keyboard.press("Enter")
    chooser.value.set_files(photo)
    expect(site.locator("#verdict")).to_be_focused()
    tab_to("button", "Copy as JSON")
    site.keyboard.press("Tab")
    site.keyboard.press("Enter")
    expect(site.locator(".all")).to_have_attribute("open", "")
    site.keyboard.press("Tab")
    site.keyboard.type("pug")
    expect(site.locator(".all li").filter(visible=True)).to_have_count(1)


def test_who_is_signed_in_is_answered_as_well(site: Page, live_server, client, photo: Path):
    client.force_login(User.objects.create_user("ann"))
    site.context.add_cookies(
        [{"name": "sessionid", "value": client.cookies["sessionid"].value, "url": live_server.url}]
    )
    site.reload()
    expect(site.locator("#ask input[name=csrfmiddlewaretoken]")).to_have_count(1)
    site.set_input_files("#photo", photo)
    expect(site.locator("#verdict")).to_be_visible()


def test_an_account_without_staff_signs_in_asks_and_signs_out(site: Page, photo: Path, axe, settings, live_server):
    settings.ALLOW_ANONYMOUS_PREDICT, settings.LOGIN_RATE = False, None
    User.objects.create_user("ann", password="a long phrase of ann")
    site.reload()
    site.set_input_files("#photo", photo)
    expect(site.locator("#problem")).to_contain_text("Sign in to use this.")
    axe(site)
    site.locator("#problem").get_by_role("link", name="Sign in").click()
    site.get_by_label("Username").fill("ann")
    site.get_by_label("Password").fill("no phrase of hers")
    site.get_by_role("button", name="Sign in").click()
    expect(site.get_by_role("alert")).to_contain_text("enter a correct username and password")
    for scheme, width in LOOKS:
        site.emulate_media(color_scheme=scheme)
        site.set_viewport_size({"width": width, "height": 844})
        axe(site)
        assert site.evaluate("document.documentElement.scrollWidth") <= width
    site.get_by_label("Username").fill("ann")
    site.get_by_label("Password").fill("a long phrase of ann")
    site.get_by_role("button", name="Sign in").click()
    expect(site).to_have_url(f"{live_server.url}/")
    site.set_input_files("#photo", photo)
    expect(site.locator("#verdict")).to_be_visible()
    axe(site)
    assert site.evaluate("document.documentElement.scrollWidth") <= 390
    site.get_by_role("button", name="Sign out").click()
    expect(site.get_by_role("navigation").get_by_role("link", name="Sign in")).to_be_visible()


def test_it_works_without_scripts(without_script: Page, active_version, photo: Path, settings):
    page = without_script
    page.set_viewport_size({"width": 390, "height": 844})

    def fits(part: str) -> bool:
        box = page.locator(part).bounding_box()
        return box["x"] >= 0 and box["x"] + box["width"] <= 390

    page.goto("/")
    assert fits(".drop-zone") and fits("#photo")
    expect(page.get_by_text("Drop a photo")).to_be_hidden()
    expect(page.get_by_role("button", name="Copy")).to_have_count(0)
    page.set_input_files("#photo", photo)
    page.get_by_role("button", name="Look at it").click()
    expect(page.locator("#verdict")).to_be_visible()
    assert fits(".drop-zone") and fits("#photo")
    expect(page.locator(".bars li")).to_have_count(5)
    assert page.locator(".shot img").get_attribute("src").startswith("data:image/jpeg;base64,")
    page.get_by_text("All 5", exact=True).click()
    expect(page.locator(".all li").filter(visible=True)).to_have_count(5)
    page.set_input_files("#photo", {"name": "x.gif", "mimeType": "image/gif", "buffer": b"GIF89a" + bytes(99)})
    page.get_by_role("button", name="Look at it").click()
    expect(page.get_by_role("alert")).to_contain_text("GIF")


def test_the_admin_is_in_the_site_s_colours_under_its_policy(page: Page, scheme, live_server, db, complaints, axe):
    User.objects.create_superuser("ann", password="a long phrase of ann")
    page.goto(f"{live_server.url}/admin/")
    expect(page).to_have_title("Log in | breedsite")
    page.get_by_label("Username").fill("ann")
    page.get_by_label("Password").fill("a long phrase of ann")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("link", name="View site")).to_have_attribute("href", "/")
    header = page.locator("#header").evaluate("header => getComputedStyle(header).backgroundColor")
    assert header == {"light": "rgb(10, 74, 50)", "dark": "rgb(16, 41, 30)"}[scheme]
    axe(page)
    page.goto(f"{live_server.url}/admin/auth/user/add/")
    page.goto(f"{live_server.url}/admin/auth/user/")

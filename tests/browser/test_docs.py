"""The documentation page in a real browser: drawn, tried out, and nothing of it against the site's policy."""

from pathlib import Path

from playwright.sync_api import Page, expect


def test_the_documentation_is_drawn_and_can_be_tried(site: Page, photo: Path, complaints: list[str]):
    asked: list[str] = []
    site.on("request", lambda request: asked.append(request.url))
    here = site.url
    site.goto(here + "api/docs")
    operation = site.locator("#operations-predict-predictImage")
    operation.locator("button.opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.locator('input[type="file"]').set_input_files(photo)
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table tbody .response-col_status").first).to_contain_text("200")
    assert all(address.startswith((here, "data:", "blob:")) for address in asked)
    assert not [said for said in complaints if "Content Security Policy" in said]


def test_the_admin_keeps_the_policy_too(site: Page, admin_user, complaints: list[str]):
    here = site.url
    site.goto(here + "admin/")
    site.get_by_label("Username").fill("admin")
    site.get_by_label("Password").fill("password")
    site.get_by_role("button", name="Log in").click()
    for path in ("admin/", "admin/classifier/modelversion/", "admin/auth/user/add/"):
        site.goto(here + path)
        expect(site.locator("#header, #site-name").first).to_be_visible()
    assert not [said for said in complaints if "Content Security Policy" in said]

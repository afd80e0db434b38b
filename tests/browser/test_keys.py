"""The pages of keys, one's own and the admin's: made, copied, revoked, in both colour schemes and at two widths."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from breedsite.models import ApiKey

LOOKS = [(scheme, width) for scheme in ("light", "dark") for width in (1280, 390)]


def look(page: Page, examine: Callable[[Page], None]) -> None:
    for scheme, width in LOOKS:
        page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        page.set_viewport_size({"width": width, "height": 844})
        examine(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_person_makes_copies_and_revokes_a_key(admin: Page, live_server, examine):
    admin.goto(live_server.url)
    admin.get_by_role("link", name="Keys").click()
    look(admin, examine)
    admin.get_by_label("Name").fill("robot")
    admin.get_by_label("read: look at").check()
    admin.get_by_role("button", name="Make it").click()
    expect(admin.get_by_role("heading", name="The key robot")).to_be_visible()
    secret = admin.get_by_label("Copy its secret now").input_value()
    assert ApiKey.objects.authenticate(secret).scopes == ["predict", "read"]
    look(admin, examine)
    admin.get_by_role("button", name="Revoke robot").click()
    expect(admin.get_by_role("row", name="robot")).to_contain_text("revoked")
    assert not ApiKey.objects.live().exists()


def test_the_admin_shows_a_secret_once_and_revokes(admin: Page, live_server, examine):
    admin.get_by_role("link", name="API keys").click()
    admin.get_by_role("link", name="Add API key").click()
    expect(admin.get_by_role("heading", name="Add API key")).to_be_visible()
    examine(admin)
    admin.get_by_label("Name").fill("robot")
    admin.get_by_label("train: make datasets").check()
    admin.get_by_role("button", name="Save").click()
    expect(admin.get_by_role("heading", name="The key robot")).to_be_visible()
    secret = admin.get_by_label("Secret").input_value()
    assert ApiKey.objects.authenticate(secret).scopes == ["train"]
    look(admin, examine)
    admin.get_by_role("link", name="I have copied it").click()
    admin.get_by_role("link", name="robot").click()
    expect(admin.get_by_role("heading", name="View API key")).to_be_visible()
    examine(admin)
    admin.get_by_role("link", name="Revoke").click()
    expect(admin.get_by_role("button", name="Revoke robot")).to_be_visible()
    examine(admin)
    admin.get_by_role("button", name="Revoke robot").click()
    expect(admin.get_by_text("is revoked: within five seconds")).to_be_visible()
    assert not ApiKey.objects.live().exists()

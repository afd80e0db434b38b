"""The charts of a run: values by keyboard, zoom by mouse, keyboard and fingers, kept while the curves move."""

import re

import pytest
from playwright.sync_api import Locator, Page, expect


@pytest.fixture
def loss(admin: Page, trained, live_server) -> Locator:
    """The first chart of a run of ten epochs."""
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{trained().pk}/change/")
    chart = admin.locator("figure").filter(has_text="Loss by epoch")
    expect(chart.locator("output")).to_contain_text("validation 1.1, best 0.5")
    return chart


def test_curves_tell_their_values_to_the_keyboard_and_obey_their_tools(admin: Page, loss: Locator):
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


def ticks(chart: Locator) -> list[float]:
    """What the horizontal axis says."""
    return [float(text) for text in chart.locator(".tick[text-anchor=middle]").all_text_contents()]


def drag(page: Page, chart: Locator, start: float, end: float) -> None:
    """Press, move and let go, at shares of the chart's width."""
    box = chart.locator("svg").bounding_box()
    page.mouse.move(box["x"] + box["width"] * start, box["y"] + 60)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * end, box["y"] + 80, steps=4)
    expect(chart.locator(".chosen")).to_have_count(1)
    page.mouse.up()


def test_a_drag_zooms_and_a_double_click_shows_everything(admin: Page, loss: Locator, examine):
    assert (min(ticks(loss)), max(ticks(loss))) == (2, 10)
    drag(admin, loss, 0.3, 0.6)
    expect(loss.get_by_role("button", name="Show everything")).to_be_visible()
    assert min(ticks(loss)) >= 3 and max(ticks(loss)) < 7
    examine(admin)
    loss.locator("svg").dblclick()
    expect(loss.get_by_role("button", name="Show everything")).to_be_hidden()
    assert max(ticks(loss)) == 10


def test_a_click_is_no_drag(admin: Page, loss: Locator):
    loss.locator("svg").click()
    expect(loss.get_by_role("button", name="Show everything")).to_be_hidden()
    expect(loss.locator("output")).to_contain_text(re.compile("at [56]: "))


def test_the_zoom_is_reached_by_the_keyboard(admin: Page, loss: Locator):
    loss.locator("svg").focus()
    for key in ("ArrowRight", "ArrowRight", "+", "+", "+"):
        admin.keyboard.press(key)
    near = ticks(loss)
    assert min(near) > 1.5 and max(near) < 3.1
    for _ in range(4):
        admin.keyboard.press("ArrowRight")  # the part that is seen follows
    expect(loss.locator("output")).to_contain_text("at 6:")
    assert min(ticks(loss)) > 4
    admin.keyboard.press("-")
    assert max(ticks(loss)) - min(ticks(loss)) > max(near) - min(near)
    admin.keyboard.press("0")
    assert max(ticks(loss)) == 10


def test_the_zoom_stays_while_the_curves_move(admin: Page, trained, live_server):
    run = trained()
    type(run).objects.filter(pk=run.pk).update(status="running")
    admin.goto(f"{live_server.url}/admin/trainer/trainingrun/{run.pk}/change/")
    loss = admin.locator("figure").filter(has_text="Loss by epoch")
    expect(loss.locator(".curve")).to_have_count(2)
    drag(admin, loss, 0.3, 0.6)
    before = ticks(loss)
    run.epochs.create(
        number=15, loss=1, accuracy=0.5, validation_loss=0.1, validation_top1=0.5, learning_rate=0.1, seconds=1.0,
        images_per_second=20.0,
    )  # fmt: skip
    expect(admin.locator("#epochs tr")).to_have_count(11, timeout=10_000)
    assert ticks(loss) == before
    loss.get_by_role("button", name="Show everything").press("Enter")
    assert max(ticks(loss)) > 10


def test_two_fingers_zoom_and_one_reads_a_value(browser, admin: Page, trained, live_server):
    context = browser.new_context(has_touch=True, viewport={"width": 390, "height": 844})
    context.add_cookies(admin.context.cookies())
    page = context.new_page()
    page.goto(f"{live_server.url}/admin/trainer/trainingrun/{trained().pk}/change/")
    loss = page.locator("figure").filter(has_text="Loss by epoch")
    expect(loss.locator(".curve")).to_have_count(2)
    loss.locator("svg").scroll_into_view_if_needed()
    loss.locator("svg").tap()
    expect(loss.locator("output")).to_contain_text(re.compile("at [56]: "))
    box = loss.locator("svg").bounding_box()
    fingers = context.new_cdp_session(page)
    middle, y = box["x"] + box["width"] / 2, box["y"] + 60

    def touch(kind: str, *places: float) -> None:
        points = [{"x": x, "y": y, "id": number} for number, x in enumerate(places)]
        fingers.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", middle - 20, middle + 20)
    touch("touchMove", middle - 60, middle + 60)
    touch("touchMove", middle - 100, middle + 100)
    touch("touchEnd")
    expect(loss.get_by_role("button", name="Show everything")).to_be_visible()
    assert min(ticks(loss)) >= 3 and max(ticks(loss)) < 8
    context.close()

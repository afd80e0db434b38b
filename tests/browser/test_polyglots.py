"""Pictures that are something else as well, shown again by the site."""

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from classifier import examples
from tests.corpus import CASES
from tests.pictures import encode, smooth

SCRIPT = b"<html><script>alert(document.domain)</script><img src=x onerror=alert(2)></html>"
POLYGLOTS = {
    "html behind a JPEG": lambda: encode(smooth(1)) + SCRIPT,
    "html behind a PNG": lambda: encode(smooth(1), "PNG") + SCRIPT,
    "html behind a WebP": lambda: encode(smooth(1), "WEBP") + SCRIPT,
    "html in a comment": lambda: encode(smooth(1), "JPEG", comment=SCRIPT),
    "html in the EXIF": lambda: encode(smooth(1), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0\0\0\0\0" + SCRIPT),
    "html in the XMP": lambda: encode(smooth(1), "JPEG", xmp=SCRIPT),
    "html in the profile": lambda: encode(smooth(1), "JPEG", icc_profile=SCRIPT),
    "svg behind a PNG": lambda: encode(smooth(1), "PNG") + b"<svg onload='alert(3)'/>",
    "html and XMP in a JPEG": lambda: CASES["xmp_script.jpg"].data,
    "html between segments": lambda: CASES["html_poly.jpg"].data,
    "html after the last chunk": lambda: CASES["pnghtml.png"].data,
    "a zip behind a JPEG": lambda: CASES["zip_tail.jpg"].data,
}


@pytest.mark.parametrize("kind", POLYGLOTS)
def test_a_polyglot_is_a_picture_and_nothing_else(page: Page, live_server, settings, tmp_path: Path, kind: str):
    settings.EXAMPLES_DIR = tmp_path
    data = POLYGLOTS[kind]()
    assert b"alert" in data
    (tmp_path / "x.html.jpg").write_bytes(data)
    dialogs: list[str] = []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    [id] = examples.gather(examples.from_folder(tmp_path))
    response = page.goto(f"{live_server.url}/examples/{id}.jpg")
    assert response.status == 200 and response.headers["content-type"] == "image/jpeg"
    expect(page.locator("img")).to_have_count(1)
    body = response.body()
    assert dialogs == [] and b"alert" not in body

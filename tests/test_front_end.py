"""What the content security policy asks of the sources: nothing inline, nothing from elsewhere."""

import re
from pathlib import Path

import pytest
from django.conf import settings

pytestmark = pytest.mark.alone

ROOT = settings.BASE_DIR
TEMPLATES = sorted(ROOT.glob("**/templates/**/*.html"))
TEMPLATES = [file for file in TEMPLATES if ".venv" not in file.parts]
STATIC = [file for file in sorted((ROOT / "static").rglob("*")) if file.is_file()]
NAMESPACE = "http://www.w3.org/2000/svg"

INLINE = {
    "a script of its own": re.compile(r"<script(?![^>]*\bsrc=)[^>]*>", re.I),
    "a style of its own": re.compile(r"<style\b|\sstyle\s*=", re.I),
    "an event handler": re.compile(r"\son[a-z]+\s*=\s*[\"']", re.I),
    "a javascript: address": re.compile(r"javascript:", re.I),
}
LOADS = r"\b(?:src|href|action)\s*=\s*|url\(|@import\s*|\bimport\b[^;]*|fetch\("
FROM_ELSEWHERE = re.compile(rf"""(?:{LOADS})["']?\s*(?:https?:)?//""")


def relative(file: Path) -> str:
    return str(file.relative_to(ROOT))


def test_there_is_something_to_look_at():
    assert {"templates/index.html", "templates/admin/base_site.html"} <= set(map(relative, TEMPLATES))
    assert {"static/js/page.js", "static/css/page.css"} <= set(map(relative, STATIC))


@pytest.mark.parametrize("template", TEMPLATES, ids=relative)
@pytest.mark.parametrize("what", INLINE)
def test_no_template_has_anything_inline(template: Path, what: str):
    found = INLINE[what].search(template.read_text())
    assert not found, f"{relative(template)} has {what}: {found.group()}"


@pytest.mark.parametrize("file", [*TEMPLATES, *STATIC], ids=relative)
def test_nothing_is_loaded_from_elsewhere(file: Path):
    found = FROM_ELSEWHERE.search(file.read_text().replace(NAMESPACE, ""))
    assert not found, f"{relative(file)} loads from elsewhere: {found.group()}"


@pytest.mark.parametrize("text", ['<a style="x">', "<style>", "<script>", '<p onclick="x">', '<a href="javascript:x">'])
def test_the_patterns_find_what_they_are_for(text: str):
    assert any(pattern.search(text) for pattern in INLINE.values())


@pytest.mark.parametrize(
    "text",
    ['<img src="https://x">', '<link href="//x">', "url(http://x)", '@import "//x"', 'import a from "https://x"'],
)
def test_the_pattern_finds_what_comes_from_elsewhere(text: str):
    assert FROM_ELSEWHERE.search(text)


@pytest.mark.parametrize("script", [file for file in STATIC if file.suffix == ".js"], ids=relative)
def test_no_script_writes_markup_or_runs_text(script: Path):
    """What a server or a label says becomes text of the page, never markup."""
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in script.read_text(), f"{relative(script)} uses {way}"


def test_every_file_that_a_template_names_is_there():
    named = {name for file in TEMPLATES for name in re.findall(r"{% static ['\"](.+?)['\"] %}", file.read_text())}
    own = {name for name in named if not name.startswith(("admin/", "drf_spectacular_sidecar/"))}
    assert own and all((ROOT / "static" / name).is_file() for name in own)

"""The documentation page: it works under the site's strict rules, and loads nothing from outside."""

import re

from django.test import Client


def test_it_has_neither_inline_script_nor_inline_style(client: Client, db):
    page = client.get("/api/docs").text
    assert not re.search(r"<script(?![^>]*\bsrc=)", page) and "<style" not in page
    assert not re.search(r"\s(style|on[a-z]+)=", page) and "javascript:" not in page


def test_everything_it_loads_is_ours(client: Client, db):
    page = client.get("/api/docs").text
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(addresses) > 5 and all(address.startswith(("/", "#")) for address in addresses)
    for address in addresses:
        if not address.startswith("#"):
            assert client.get(address.replace("&amp;", "&")).status_code in {200, 302}, address


def test_its_script_is_a_script(client: Client, db):
    response = client.get("/api/docs?script=")
    assert response.headers["Content-Type"] == "application/javascript" and "SwaggerUIBundle" in response.text
    assert '"validatorUrl": null' in response.text, "the document is sent to no validator elsewhere"

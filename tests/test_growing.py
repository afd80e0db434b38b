"""The guide from one machine to many says what the source says."""

import re
from pathlib import Path

import pytest
from django.test import Client
from django.urls import resolve

from breedsite import settings as source
from breedsite.metrics import Everything
from breedsite.up import worker
from classifier.gate import ROUTES
from classifier.uploads import PIECE_BYTES
from tests.test_settings import variables

GUIDE = Path(__file__).resolve().parent.parent / "docs" / "growing.md"
TEXT = GUIDE.read_text()


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_every_setting_that_it_names_exists():
    words = set(re.findall(r"\b[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+\b", TEXT)) | {"HOST", "PORT"}
    named = {word for word in words if not word.startswith("AWS_")}  # those are boto's
    assert named - variables() == set()
    assert set(re.findall(r"^([A-Z_]+)=", blocks("ini")[0], re.MULTILINE)) <= variables()


def test_it_names_the_setting_of_every_part_that_can_be_moved():
    for name in (
        "DATABASE_URL",
        "BROKER_URL",
        "CACHE_URL",
        "BROKER_QUEUE",
        "SITE_URL",
        "TRUSTED_PROXIES",
        "DATA_DIR",
        "STORAGE_URL",
    ):
        assert name in TEXT


def test_its_commands_are_those_of_the_launcher():
    command = " ".join((".venv/bin/python", *worker(2)))
    [shell, *_] = blocks("console")
    assert command in shell.splitlines()
    assert [block.count(f"ExecStart=/opt/breedsite/{command}\n") for block in blocks("ini")] == [0, 0, 1]
    assert "-m breedsite.server" in shell and "manage.py prepare" in shell


def test_its_addresses_are_answered():
    assert "/healthz" in ROUTES
    for address in ("/readyz", "/metrics"):
        assert address in TEXT and resolve(address)


def test_every_number_that_it_watches_is_told(db, active_version, client: Client):
    client.get("/")
    told = {family.name for family in Everything().collect()}
    watched = {re.sub("_(total|bucket)$", "", name) for name in re.findall(r"\bbreedsite_[a-z_]+", TEXT)}
    assert watched and watched - told == set()


def test_its_limits_are_those_of_the_source():
    assert f"pieces of {PIECE_BYTES // 1024**2} MB" in TEXT
    assert f"({source.PREDICT_BODY_BYTES // 1024**2} MB by itself)" in TEXT or source.MAX_IMAGE_BYTES != 10 * 1024**2
    [size] = re.findall(r"client_max_body_size (\d+)m;", TEXT)
    assert int(size) * 1024**2 >= source.PREDICT_BODY_BYTES


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^)]+)\)", TEXT))))
def test_its_links_lead_somewhere(link: str):
    path, _, anchor = link.partition("#")
    text = (GUIDE.parent / path).read_text() if path else TEXT
    heads = {re.sub(r"[^\w -]", "", head.lower()).replace(" ", "-") for head in re.findall(r"^#+ (.*)$", text, re.M)}
    assert not anchor or anchor in heads

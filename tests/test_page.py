"""The page at /, as it comes from the server: with JavaScript the blank of it, without JavaScript all of it."""

import html
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client

from breedsite.rates import Rate
from classifier.labels import chance
from classifier.models import ModelVersion
from classifier.predictor import Busy
from classifier.problems import PROBLEMS
from tests.artifacts import make_artifact, make_spec
from tests.corpus import CASES, OK
from tests.pictures import encode, noise, smooth

MARKER = b"a-marker-that-no-encoder-writes"


@pytest.fixture(autouse=True)
def without_rate(settings):
    settings.PREDICT_RATE = None


@pytest.fixture
def examples_dir(settings, tmp_path: Path) -> Path:
    settings.EXAMPLES_DIR = tmp_path / "examples"
    settings.EXAMPLES_DIR.mkdir()
    for number in (1, 2):
        (settings.EXAMPLES_DIR / f"{number}.jpg").write_bytes(encode(smooth(number)))
    return settings.EXAMPLES_DIR


def ask(client: Client, data: bytes, *, name: str = "dog.jpg", path: str = "/"):
    return client.post(path, {"image": SimpleUploadedFile(name, data, "image/jpeg")})


def text(response) -> str:
    """What a person reads."""
    body = re.sub(r"<(template|script)\b.*?</\1>", "", response.content.decode(), flags=re.S)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def heard(response) -> tuple[str, str]:
    """The title and the sentence of a refusal; empty ones of an answer."""
    page = response.content.decode()
    [title], [sentence] = re.findall("<title>(.*?)</title>", page), re.findall('"sentence">(.*?)</p>', page)
    refused = response.status_code != 200
    return (html.unescape(title).partition(" · ")[0] if refused else ""), html.unescape(sentence)


def install(tmp_path: Path, **changes) -> ModelVersion:
    version = ModelVersion.objects.install(make_artifact(tmp_path / "other", **changes))
    version.activate()
    apps.get_app_config("classifier").start()
    return version


# --- before a photo


def test_it_says_what_it_knows_and_what_it_takes(client: Client, active_version):
    response = client.get("/")
    assert response.status_code == 200
    assert "the likeliest of the 5 I know, from Beagle to Pug" in text(response)
    assert "JPEG, PNG or WebP, up to 10 MB" in text(response)
    assert "50 megapixels (WebP 40), each side 32 to 16,000 pixels, one at most 20 times the other" in text(response)


def test_it_says_how_often_the_version_is_right_and_what_it_is_not_for(client: Client, tmp_path, db, versions_dir):
    version = install(tmp_path)
    shown = text(client.get("/"))
    assert "tiny, version 1" in shown and version.digest[:12] in shown
    assert "Right on 60.0 % of 50 test photos kept apart (95 % interval 0.0 to 100.0 %)" in shown
    assert "among its first five on 100.0 %" in shown
    assert "anything else" in shown


def test_it_says_when_nobody_measured_the_version(client: Client, tmp_path, db, versions_dir):
    install(tmp_path, quality=None)
    assert "Nobody has measured this version." in text(client.get("/"))


def test_the_page_asks_no_database_and_gives_no_cookie(client: Client, active_version, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = client.get("/")
    assert not response.cookies


def test_head_and_other_methods(client: Client, active_version):
    assert client.head("/").status_code == 200
    assert client.put("/").status_code == 405


def test_without_an_active_version_it_says_what_to_do(client: Client, db, versions_dir):
    response = client.get("/")
    assert response.status_code == 200
    assert "no active version" in text(response) and "importversion FOLDER --activate" in text(response)
    assert b"<form" not in response.content
    asked = ask(client, encode(smooth(1)))
    assert asked.status_code == 503 and int(asked.headers["Retry-After"]) > 0
    assert "no active version" in text(asked)


def test_the_lines_for_programs_have_the_address_that_was_asked(client: Client, active_version, settings):
    settings.ALLOWED_HOSTS = ["dogs.example"]
    shown = text(client.get("/", headers={"host": "dogs.example:8443"}))
    assert shown.count("http://dogs.example:8443/api/predictImage") == 2


def test_in_production_they_have_the_address_of_the_site(client: Client, active_version, settings):
    settings.PRODUCTION, settings.SITE_URL = True, "https://dogs.example"
    assert text(client.get("/")).count("https://dogs.example/api/predictImage") == 2


@pytest.mark.parametrize("snippet", ["curl", "python"])
def test_the_lines_for_programs_work_as_they_stand(client: Client, wire, active_version, tmp_path, snippet: str):
    (tmp_path / "photo.jpg").write_bytes(encode(smooth(1)))
    page = client.get("/", headers={"host": f"127.0.0.1:{wire.port}"}).content.decode()
    [code] = re.findall(rf'<code id="snippet-{snippet}">(.*?)</code>', page, flags=re.S)
    command = ["sh", "-c", f"curl() {{ command curl -s --noproxy '*' \"$@\"; }}; {html.unescape(code)}"]
    if snippet == "python":
        command = [sys.executable, "-c", html.unescape(code)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=True)
    assert "This looks like" in done.stdout or "I am not sure." in done.stdout


# --- with examples


def test_without_examples_nothing_of_them_is_shown(client: Client, active_version):
    assert "Try one of these" not in text(client.get("/"))


def test_examples_are_buttons_that_answer(client: Client, active_version, examples_dir):
    page = client.get("/").content.decode()
    addresses = re.findall(r'src="(/examples/[0-9a-f]{16}\.jpg)"', page)
    ids = re.findall(r'name="example" value="([0-9a-f]{16})"', page)
    assert addresses == [f"/examples/{id}.jpg" for id in ids] and len(set(ids)) == 2
    response = client.post("/", {"example": ids[1]})
    assert response.status_code == 200 and 'class="result' in response.content.decode()


@pytest.mark.parametrize("id", ["0", "1", "-1", "x", "", "../1", "9" * 5000])
def test_an_example_that_is_none_is_not_found(client: Client, active_version, examples_dir, id: str):
    assert client.post("/", {"example": id}).status_code == 404


# --- with a photo


def test_a_form_gets_the_answer_of_the_api(client: Client, active_version):
    photo = encode(smooth(1))
    response = ask(client, photo)
    said = client.post("/api/predictImage", photo, content_type="image/jpeg").json()
    assert response.status_code == 200
    assert said["message"] in text(response)
    meters = re.findall(r'<meter min="0" max="1" value="([\d.]+)"', response.content.decode().split("<template")[0])
    assert [float(value) for value in meters] == [pytest.approx(row["probability"], abs=1e-4) for row in said["top"]]
    assert "All 5" in text(response) and "tiny, version 1" in text(response)


def test_the_photo_comes_back_as_pixels_alone(client: Client, active_version):
    response = ask(client, CASES["gps.jpg"].data + MARKER, name='"><img src=x onerror=alert(1)>.jpg')
    assert response.status_code == 200
    assert b'src="data:image/jpeg;base64,' in response.content
    assert MARKER not in response.content and b"onerror" not in response.content


def test_a_form_takes_as_large_a_photo_as_the_api(client: Client, db, versions_dir, tmp_path, settings):
    settings.MAX_IMAGE_BYTES = 20 * 1024**2
    install(tmp_path)
    large = encode(noise(1, (2200, 2000)), "PNG", compress_level=0)
    assert 12 * 1024**2 < len(large) < settings.MAX_IMAGE_BYTES
    assert client.post("/api/predictImage", large, content_type="image/png").status_code == 200
    response = ask(client, large)
    assert response.status_code == 200 and b'src="data:image/jpeg;base64,' in response.content


@pytest.mark.parametrize(
    ("threshold", "sentence", "unsure"), [(0.0, "This looks like", False), (1.0, "I am not sure. It may be", True)]
)
def test_the_version_decides_from_where_on_it_is_unsure(
    client: Client, db, versions_dir, tmp_path, threshold, sentence, unsure
):
    install(tmp_path, calibration=replace(make_spec().calibration, unsure_below=threshold))
    response = ask(client, encode(smooth(1)))
    assert sentence in text(response)
    assert (b'class="result unsure"' in response.content.split(b"<template")[0]) is unsure


def test_it_says_when_only_the_first_frame_was_looked_at(client: Client, active_version):
    [animated] = [case for case in CASES.values() if case.animated and case.codes == {OK}][:1]
    response = ask(client, animated.data)
    said = client.post("/api/predictImage", animated.data, content_type="image/webp").json()
    assert said["warning"] in text(response)


def test_labels_are_text_whatever_they_contain(client: Client, db, versions_dir, tmp_path):
    labels = ("<img src=x onerror=alert(1)>", "</script><b>", "a&b", '"quoted"', "plain")
    install(tmp_path, labels=labels)
    for response in (client.get("/"), ask(client, encode(smooth(1)))):
        assert b"<img src=x" not in response.content and b"</script><b>" not in response.content
    assert "</script><b>" in text(response)


# --- refused


def test_every_hostile_file_gets_its_status_and_its_words(client: Client, active_version):
    wrong = {}
    for name, case in CASES.items():
        response = ask(client, case.data)
        title, sentence = heard(response)
        fits = (sentence == "") if response.status_code == 200 else sentence.endswith((".", ")"))
        named = {PROBLEMS[code][1] for code in case.codes - {OK}} | ({""} if OK in case.codes else set())
        if not fits or title not in named or response.status_code not in case.statuses:
            wrong[name] = (response.status_code, title, sentence)
    assert wrong == {}


def test_a_refusal_has_the_sentence_of_the_api(client: Client, active_version):
    photo = CASES["trunc.webp"].data
    assert heard(ask(client, photo))[1] == ask(client, photo, path="/api/predictImage").json()["detail"]


def test_a_form_without_a_photo_says_so(client: Client, active_version):
    response = client.post("/", {})
    assert response.status_code == 400 and "No file was submitted." in text(response)


def test_a_body_that_is_no_form_is_refused(client: Client, active_version):
    assert client.post("/", b"x", content_type="image/jpeg").status_code == 415
    assert client.post("/", b"x", content_type="multipart/form-data").status_code == 400


def test_a_full_queue_says_when_to_come_back(client: Client, active_version, monkeypatch):
    predictor = apps.get_app_config("classifier").predictor
    monkeypatch.setattr(predictor, "predict", lambda data, **options: (_ for _ in ()).throw(Busy()))
    response = ask(client, encode(smooth(1)))
    assert response.status_code == 503 and 3 <= int(response.headers["Retry-After"]) <= 7
    assert PROBLEMS["overloaded"][1] in response.content.decode()


def test_a_caller_over_the_rate_is_told_when_to_come_back(active_version, settings):
    settings.PREDICT_RATE = Rate(1, 60)
    client = Client(REMOTE_ADDR="192.0.2.1")  # what other tests asked a moment ago counts for the usual address
    assert ask(client, encode(smooth(1))).status_code == 200
    response = ask(client, encode(smooth(1)))
    assert response.status_code == 429 and int(response.headers["Retry-After"]) > 0


def test_who_is_not_signed_in_may_be_kept_out(client: Client, active_version, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = False
    assert client.get("/").status_code == 200
    response = ask(client, encode(smooth(1)))
    assert response.status_code == 401 and "Sign in" in text(response)


def test_who_is_signed_in_sends_the_token_of_the_form(active_version):
    client = Client(enforce_csrf_checks=True)
    client.force_login(User.objects.create_user("ann"))
    assert ask(client, encode(smooth(1))).status_code == 403
    token = re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', client.get("/").content.decode())[0]
    photo = SimpleUploadedFile("dog.jpg", encode(smooth(1)))
    assert client.post("/", {"image": photo, "csrfmiddlewaretoken": token}).status_code == 200


# --- numbers


@pytest.mark.parametrize(
    ("share", "digits", "shown"),
    [
        (0.973, 0, "97\u00a0%"),
        (0.5, 1, "50.0\u00a0%"),
        (1.0, 0, ">\u200999\u00a0%"),
        (0.9951, 0, ">\u200999\u00a0%"),
        (0.9949, 0, "99\u00a0%"),
        (0.0049, 0, "<\u20091\u00a0%"),
        (0.0, 1, "<\u20090.1\u00a0%"),
        (0.0006, 1, "0.1\u00a0%"),
    ],
)
def test_a_probability_is_never_rounded_to_certainty(share, digits, shown):
    assert chance(share, digits) == shown

"""Log lines: their two forms, what they hide, and that nobody who is served can write one of his own."""

import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.test import Client

from classifier.logs import UNSEEN, Json, Line, about, mask
from tests.live import FORM, Wire, part
from tests.squares import make_run

ROOT = Path(__file__).resolve().parent.parent
BEGINNING = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR|CRITICAL) ")
FORGED = "2026-11-20 09:39:02 CRITICAL root all is lost"
SEPARATORS = [
    *("\n", "\r", "\r\n", "\x0b", "\x0c", "\x1c", "\x1d", "\x1e", "\x85", "\u2028", "\u2029", "\x00", "\x08", "\x7f"),
    *("\x1b[31m", "\x1b]0;title\x07", "\x9b31m", "\u202e", "\u2066", "\ufeff", "\u200b", "\x1b[2J\x1b[H", "\x1b[1A"),
    *("\x1bc", "\udc80", "\U000e0041", "\u061c", "\x90q\x1b\\"),
]
AROUND = [
    "{}" + FORGED,
    "dog{}" + FORGED,
    "dog.jpg{}",
    "{0}{0}" + FORGED + "{0}",
    '"}}{}{{"level": "CRITICAL"}}',
    "%s{}%d",
]
HOSTILE = [around.format(separator) for separator in SEPARATORS for around in AROUND]
TOKEN = "breedsite_0a1b2c3d_" + "x" * 43


def record(message: str, *args: object, **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("some.logger", logging.WARNING, "", 0, message, args, None)
    made.__dict__.update(extra)
    return made


def lines_of(caplog: pytest.LogCaptureFixture, form: logging.Formatter) -> list[str]:
    return [form.format(one) for one in caplog.records]


# --- what a client wrote ----------------------------------------------------------------------------------------------
def test_there_are_enough_hostile_values():
    assert len(set(HOSTILE)) >= 150 and all(UNSEEN.search(value) for value in HOSTILE)


@pytest.mark.parametrize("value", HOSTILE, ids=ascii)
def test_a_hostile_value_takes_one_line_and_colours_nothing(value: str):
    for made in (record("Not Found: %s", value), record(value.replace("%", "%%")), failed(value)):
        [first, *rest] = Line().format(made).splitlines()
        assert BEGINNING.match(first) and not any(BEGINNING.match(line) for line in rest)
        assert all(line.startswith("    ") for line in rest)
        assert not UNSEEN.search("".join([first, *rest]))
        [text] = Json().format(made).splitlines()
        found = json.loads(text)
        assert found["level"] == "WARNING" and not UNSEEN.search(text)
        assert not UNSEEN.search(found["message"])


def failed(value: str) -> logging.LogRecord:
    """A record with a traceback whose error names the value."""
    try:
        raise ValueError(value)
    except ValueError:
        made = record("It failed.")
        made.exc_info = sys.exc_info()
        return made


def test_letters_of_all_people_stay_as_they_are():
    assert Line().format(record("%s", "Große Pudel 犬 🐕")).endswith("Große Pudel 犬 🐕")
    assert json.loads(Json().format(record("%s", "犬 🐕")))["message"] == "犬 🐕"


@pytest.mark.parametrize("form", [Line(), Json()])
@pytest.mark.parametrize("value", ["\n" + FORGED, "\x1b[31m", "\u2028" + FORGED])
def test_it_holds_for_requests_that_come_in(client: Client, caplog, active_version, picture, form, value: str):
    sent = value.encode("unicode_escape").decode().replace("\\", "%").replace("%x", "%").replace("%n", "%0a")
    client.get("/nothing/" + sent.replace("%u2028", "%e2%80%a8"))
    client.get("/", headers={"host": "evil" + value})
    client.generic("GET", "/", HTTP_X_REQUEST_ID=value, HTTP_USER_AGENT=value, HTTP_REFERER=value)
    client.post("/login/", {"username": value, "password": value, "next": value})
    client.generic("B\x1bAD", "/api/predictImage")
    lines = lines_of(caplog, form)
    assert len(lines) >= 3 and all(len(line.splitlines()) == 1 and not UNSEEN.search(line) for line in lines)


def test_no_name_of_a_photo_and_nothing_of_it_is_logged(wire: Wire, active_version, picture, caplog):
    caplog.set_level(logging.INFO)
    for data in (picture, picture[:200], b"GPS 52.5200 13.4050 nonsense"):
        for path in ("/api/predictImage", "/"):
            named = part("image", data, file="my cat at home.jpg")
            wire("POST", path, b"--a-boundary-of-the-tests\r\n" + named[2:], content_type=FORM)
            wire.form(named, path=path)
    text = "".join(lines_of(caplog, Line()) + lines_of(caplog, Json()))
    assert "my cat" not in text and "GPS" not in text and "JFIF" not in text


# --- one line for each refusal ----------------------------------------------------------------------------------------
REFUSALS: list[tuple[int, Callable[[Wire], object]]] = [
    (404, lambda wire: wire("GET", "/nothing")),
    (404, lambda wire: wire("GET", "/api/nothing")),
    (405, lambda wire: wire("PUT", "/api/predictImage", b"")),
    (403, lambda wire: wire("DELETE", "/readyz")),  # no token of the form
    (400, lambda wire: wire("GET", "/", Host="evil.example")),
    (400, lambda wire: wire("POST", "/api/predictImage", b"{", content_type="application/json")),
    (415, lambda wire: wire.photo(b"no picture")),
    (415, lambda wire: wire("POST", "/api/predictImage", b"x", content_type="text/plain")),
    (
        403,
        lambda wire: wire(
            "POST", "/login/", b"username=ann&password=secret-of-ann", content_type="application/x-www-form-urlencoded"
        ),
    ),
    (413, lambda wire: wire("POST", "/healthy/", bytes(3 * 1024**2))),
    (400, lambda wire: wire.raw(b"nonsense\r\n\r\n")),
    (400, lambda wire: wire.raw(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n")),
    (403, lambda wire: wire("GET", "/metrics", X_Forwarded_For="192.0.2.1")),
]


@pytest.mark.parametrize(("status", "ask"), REFUSALS)
def test_each_refusal_is_one_line(wire: Wire, active_version, caplog, status: int, ask):
    answer = ask(wire)
    assert answer.status == status
    end = threading.Event()
    for _ in range(500):  # the answer may arrive before the line
        found = [one for one in caplog.records if one.levelno >= logging.WARNING]
        if found:
            break
        end.wait(0.01)
    [one] = found
    assert "\n" not in Line().format(one)
    told = json.loads(Json().format(one))
    assert (told["status"], told["request_id"]) == (status, answer.headers["X-Request-ID"])
    assert "secret-of-ann" not in str(told)


def test_a_mistake_of_ours_is_one_object_with_its_traceback(client: Client, active_version, caplog, monkeypatch):
    def broken(*_: object) -> None:
        raise RuntimeError("token=abcdefgh and redis://me:s3cret@host\n" + FORGED)

    monkeypatch.setattr("classifier.views.example_pictures", broken)
    client.raise_request_exception = False
    answer = client.get("/")
    [one] = [one for one in caplog.records if one.levelno >= logging.WARNING]
    told = json.loads(Json().format(one))
    assert (told["status"], told["method"], told["route"]) == (500, "GET", "/")
    assert told["request_id"] == answer.headers["X-Request-ID"]
    assert "RuntimeError" in told["traceback"] and "s3cret" not in told["traceback"]
    assert not any(BEGINNING.match(line) for line in Line().format(one).splitlines()[1:])


# --- the objects ------------------------------------------------------------------------------------------------------
def test_an_object_says_what_is_known(client: Client, active_version, caplog):
    answer = client.post("/api/predictImage", b"no picture", content_type="image/jpeg")
    [one] = caplog.records
    told = json.loads(Json().format(one))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told.pop("time"))
    assert told == {
        "level": "WARNING",
        "logger": "django.request",
        "message": "Unsupported Media Type: /api/predictImage",
        "request_id": answer.headers["X-Request-ID"],
        "status": 415,
        "method": "POST",
        "route": "/api/predictImage",
    }
    assert "request_id" not in json.loads(Json().format(record("begun")))


def test_a_line_belongs_to_the_run_it_names(db, settings, tmp_path, monkeypatch):
    settings.DATASETS_DIR = tmp_path
    monkeypatch.setattr("breedsite.jobs.app.send_task", lambda name, **options: None)
    run = make_run()
    assert json.loads(Json().format(record("%s waits for %s", run, "room")))["run_id"] == run.pk
    assert json.loads(Json().format(record("%s is ready", run.dataset)))["dataset_id"] == run.dataset_id
    with about(run_id=7):
        assert json.loads(Json().format(record("it begins")))["run_id"] == 7
    assert "run_id" not in json.loads(Json().format(record("it begins")))


@pytest.mark.parametrize("fill", ["x", "\x1b", '"', "\\", "犬", "🐕"])
def test_an_object_fits_the_line_of_a_launcher(fill: str):
    from breedsite.launcher import LONGEST_LINE

    made = failed(fill * 50_000)
    made.msg, made.args = "%s", (fill * 50_000,)
    text = Json().format(made)
    assert len(text.encode()) < LONGEST_LINE and json.loads(text)["message"].endswith("…")


# --- what is hidden ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("amqp://guest:s3cret@host:5672//", "amqp://guest:***@host:5672//"),
        ("redis://:s3cret@host and postgres://a:b@c", "redis://:***@host and postgres://a:***@c"),
        ("http://127.0.0.1:8000/x@y", "http://127.0.0.1:8000/x@y"),
        (f"Not Found: /{TOKEN}/x", "Not Found: /breedsite_0a1b2c3d_***/x"),
        (f"Authorization: Bearer {TOKEN}", "Authorization: Bearer ***"),
        ("authorization: bearer 0123456789abcdef", "authorization: bearer ***"),
        ("/login/?next=/&password=s3cret&x=1", "/login/?next=/&password=***&x=1"),
        ("cookie sessionid=abc; csrftoken=def", "cookie sessionid=***; csrftoken=***"),
        ("Forbidden (CSRF token missing.): /login/", "Forbidden (CSRF token missing.): /login/"),
        ("breedsite_request_seconds", "breedsite_request_seconds"),
    ],
)
def test_secrets_are_masked(text: str, masked: str):
    assert mask(text) == masked
    assert Line().format(record("%s", text)).endswith(masked)
    assert json.loads(Json().format(record("%s", text)))["message"] == masked


def test_a_control_character_within_a_secret_hides_nothing_of_it_from_the_mask():
    text = Line().format(record("redis://me:s3c\nret@host and %s", TOKEN[:30] + "\u200b" + TOKEN[30:]))
    assert "s3c" not in text and "ret@" not in text and "xx" not in text


def test_a_traceback_in_the_log_shows_no_password():
    made = failed("cannot reach redis://me:s3cret@host")
    for form in (Line(), Json()):
        assert "s3cret" not in form.format(made) and "ValueError" in form.format(made)


def test_who_signs_in_is_not_logged(client: Client, caplog, db):
    User.objects.create_user("ann", password="s3cret of ann")
    caplog.set_level(logging.DEBUG, logger="django.request")
    client.post("/login/", {"username": "ann", "password": "s3cret of another"})
    client.post("/login/", {"username": "ann", "password": "s3cret of ann"})
    assert "s3cret" not in "".join(lines_of(caplog, Json()))


def test_a_request_with_a_wrong_host_takes_one_line_of_the_log(client: Client, caplog):
    assert client.get("/", headers={"host": "evil.example"}).status_code == 400
    [one] = [one for one in caplog.records if one.name.startswith("django.security")]
    assert one.exc_info, "Django adds the traceback"
    line = Line().format(one)
    assert "evil.example" in line and "\n" not in line


# --- other processes --------------------------------------------------------------------------------------------------
TRAINING = """
import logging, warnings
from classifier import logs
logs.to_stderr("json")
logs.belongs_to(run_id=7)
logging.getLogger("trainer.loop").info("an epoch\\n of many")
warnings.warn("mind this")
raise RuntimeError("a surprise")
"""


def test_the_process_of_a_training_says_objects_to_its_last_word():
    done = subprocess.run([sys.executable, "-c", TRAINING], cwd=ROOT, capture_output=True, text=True, timeout=60)
    said = [json.loads(line) for line in done.stderr.splitlines()]
    assert [one["run_id"] for one in said] == [7, 7, 7]
    assert said[0]["message"] == "an epoch\\n of many" and "mind this" in said[1]["message"]
    assert said[2]["level"] == "CRITICAL" and "a surprise" in said[2]["traceback"]

"""Local or production, and every start that is refused because something would be unsafe."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from breedsite.checks import file_system, sqlite_lies_on_a_disk_of_this_machine
from breedsite.profile import Start, host_is_allowed, is_loopback, is_production, own_hosts, refusals

ROOT = Path(__file__).resolve().parent.parent
SAFE = Start(
    site_url="https://breeds.example.org",
    debug=False,
    secret_key="kX9$mQ2!vB7#nL4@wR6%tY1^zC3&pH8*" * 2,
    secret_key_mode=0o100600,
    allowed_hosts=["breeds.example.org"],
    trusted_proxies=1,
    session_cookie_secure=True,
    csrf_cookie_secure=True,
    hsts_seconds=31536000,
    cors_allowed_origins=[],
)
LOCAL = replace(
    SAFE,
    site_url="http://127.0.0.1:8000",
    allowed_hosts=own_hosts("http://127.0.0.1:8000"),
    trusted_proxies=0,
    session_cookie_secure=False,
    csrf_cookie_secure=False,
    hsts_seconds=0,
)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"debug": True}, "DEBUG"),
        ({"secret_key": "short"}, "SECRET_KEY"),
        ({"secret_key": "a" * 60}, "SECRET_KEY"),
        ({"secret_key": "django-insecure-" + SAFE.secret_key}, "SECRET_KEY"),
        ({"secret_key_mode": 0o100644}, "chmod 600"),
        ({"allowed_hosts": ["*"]}, "ALLOWED_HOSTS"),
        ({"allowed_hosts": ["other.example.org"]}, "ALLOWED_HOSTS"),
        ({"site_url": "http://breeds.example.org"}, "plain http"),
        ({"site_url": "http://192.168.1.7:8000"}, "plain http"),
        ({"site_url": "https://breeds.example.org/app"}, "SITE_URL"),
        ({"site_url": "https://"}, "SITE_URL"),
        ({"site_url": "breeds.example.org"}, "SITE_URL"),
        ({"site_url": "https://me:secret@breeds.example.org"}, "SITE_URL"),
        ({"session_cookie_secure": False}, "SESSION_COOKIE_SECURE"),
        ({"csrf_cookie_secure": False}, "CSRF_COOKIE_SECURE"),
        ({"hsts_seconds": 0}, "SECURE_HSTS_SECONDS"),
        ({"trusted_proxies": 0}, "TRUSTED_PROXIES"),
        ({"cors_allowed_origins": ["*"]}, "CORS_ALLOWED_ORIGINS"),
        ({"cors_allowed_origins": ["https://a.example/path"]}, "CORS_ALLOWED_ORIGINS"),
    ],
    ids=str,
)
def test_production_refuses_each_misconfiguration_with_one_line(change: dict, word: str):
    [sentence, *_] = refusals(replace(SAFE, **change))
    assert word in sentence and "\n" not in sentence and sentence.endswith(".")


def test_what_is_safe_starts():
    assert list(refusals(SAFE)) == [] == list(refusals(LOCAL))


@pytest.mark.parametrize(
    "change", [{"debug": True}, {"allowed_hosts": ["*"]}, {"cors_allowed_origins": ["*"]}], ids=str
)
def test_some_things_are_refused_locally_too(change: dict):
    assert list(refusals(replace(LOCAL, **change)))


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "breeds.localhost"])
def test_a_loopback_address_is_local(host: str):
    assert is_loopback(host)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "192.168.0.1", "example.org", "localhost.example.org", "", "127.0.0.1.nip.io"]
)
def test_everything_else_is_not(host: str):
    assert not is_loopback(host)


def test_a_parent_named_with_a_dot_allows_its_children():
    assert host_is_allowed("a.example.org", [".example.org"]) and host_is_allowed("example.org", [".example.org"])
    assert not host_is_allowed("badexample.org", [".example.org"])
    assert host_is_allowed("::1", ["[::1]"])
    assert is_production("https://x.org") and not is_production("http://127.0.0.1")


NOT_KEPT = {"SITE_URL", "SECRET_KEY", "ALLOWED_HOSTS", "DJANGO_ALLOW_ASYNC_UNSAFE"}  # the last is of the browser tests


def manage(*arguments: str, data_dir: Path, **settings: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in NOT_KEPT}
    environment = {**kept, "DATA_DIR": str(data_dir), **settings}
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


PRODUCTION = {"SITE_URL": "https://breeds.example.org", "TRUSTED_PROXIES": "1"}


def test_the_deployment_check_finds_nothing(tmp_path: Path):
    done = manage("check", "--deploy", "--fail-level", "WARNING", data_dir=tmp_path, **PRODUCTION)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout
    assert (tmp_path / "secret_key").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("DEBUG", "true"),
        ("SECRET_KEY", "changeme"),
        ("ALLOWED_HOSTS", "*"),
        ("SITE_URL", "http://breeds.example.org"),
        ("SESSION_COOKIE_SECURE", "false"),
        ("CSRF_COOKIE_SECURE", "false"),
        ("SECURE_HSTS_SECONDS", "0"),
        ("TRUSTED_PROXIES", "0"),
    ],
)
def test_the_site_does_not_start_with_it(tmp_path: Path, setting: str, value: str):
    done = manage("check", data_dir=tmp_path, **PRODUCTION | {setting: value})
    assert done.returncode == 1 and setting in done.stderr
    assert "Traceback" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_two_installations_have_two_keys(tmp_path: Path):
    show = ("shell", "--no-imports", "-c", "from django.conf import settings; print(settings.SECRET_KEY)")
    keys = {manage(*show, data_dir=tmp_path / name).stdout.strip() for name in ("a", "b")}
    assert len(keys) == 2 and all(len(key) >= 50 for key in keys)
    assert manage(*show, data_dir=tmp_path / "a").stdout.strip() in keys, "a key stays"


def test_passwords_of_people_are_checked(db):
    from django.contrib.auth.password_validation import validate_password
    from django.core.exceptions import ValidationError

    for weak in ("short", "password", "1234567890"):
        with pytest.raises(ValidationError):
            validate_password(weak)


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/a/site.sqlite3", "ext4"), ("/mnt/my share/site.sqlite3", "nfs4"), ("/mnt/other/x", "overlay")],
)
def test_the_file_system_of_a_path_is_that_of_the_mount_above_it(path: str, kind: str):
    mounts = "none / overlay rw 0 0\n/dev/sda /home ext4 rw 0 0\nserver:/x /mnt/my\\040share nfs4 rw 0 0\n"
    assert file_system(Path(path), mounts) == kind


def test_sqlite_on_a_network_is_warned_about(monkeypatch, settings):
    settings.DATABASES = {"default": {"ENGINE": "breedsite.sqlite", "NAME": "/data/x"}}
    monkeypatch.setattr("breedsite.checks.mounts", lambda: "none / overlay rw 0 0\nserver:/x /data nfs rw 0 0\n")
    [message] = sqlite_lies_on_a_disk_of_this_machine(None)
    assert message.id == "breedsite.W001" and "DATABASE_URL" in message.hint
    monkeypatch.setattr("breedsite.checks.mounts", lambda: "")
    assert sqlite_lies_on_a_disk_of_this_machine(None) == []

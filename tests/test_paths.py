"""What a request says is never a path: whatever it carries, no file elsewhere is opened."""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest
from django.test import Client

from breedsite import jobs
from tests.live import FORM, form, part
from tests.squares import make_dataset, make_run

ROOT = Path(__file__).resolve().parent.parent
TARGETS = ["etc/passwd", "windows/win.ini", ".env", "secret_key"]
CLIMBS = [
    "../" * 8,
    "..%2f" * 8,
    "%2e%2e%2f" * 8,
    "%252e%252e%252f" * 8,
    "..\\" * 8,
    "..%5c" * 8,
    "/",
    "C:/",
    "%00../../",
    "․․/" * 4,
]
PAYLOADS = [climb + target for climb in CLIMBS for target in TARGETS]
READ = [
    "/{}",
    "/static/{}",
    "/static/css/{}",
    "/examples/{}.jpg",
    "/login/?next={}",
    "/api/{}",
    "/api/model?version={}",
    "/api/schema?lang={}",
    "/api/docs?script=&version={}",
    "/admin/r/{}/1/",
    "/admin/jsi18n/?x={}",
    "/admin/classifier/modelversion/{}/change/",
    "/admin/classifier/modelversion/{}/figures/labels/",
    "/admin/classifier/modelversion/1/figures/{}/",
    "/admin/trainer/dataset/{}/change/",
    "/admin/trainer/dataset/{}/photos/",
    "/admin/trainer/dataset/{}/progress/",
    "/admin/trainer/dataset/1/photos/{}/",
    "/admin/trainer/dataset/1/photos/?label={}",
    "/admin/trainer/dataset/upload/{}/",
    "/admin/trainer/trainingrun/{}/change/",
    "/admin/trainer/trainingrun/{}/state/",
    "/admin/trainer/trainingrun/{}/epochs.csv",
    "/admin/trainer/trainingrun/{}/run.json",
    "/admin/trainer/trainingrun/compare/?runs={}",
    "/admin/trainer/trainingrun/network/?architecture={}",
    "/admin/trainer/trainingrun/add/?preset={}",
    "/admin/trainer/trainingrun/add/?like={}",
]
DONE = [
    "/{}",
    "/login/?next={}",
    "/api/{}",
    "/admin/classifier/modelversion/{}/activate/",
    "/admin/trainer/dataset/{}/cancel/",
    "/admin/trainer/dataset/{}/edit/",
    "/admin/trainer/dataset/{}/examples/",
    "/admin/trainer/dataset/upload/{}/?offset=0&total=1",
    "/admin/trainer/trainingrun/{}/do/stop/",
    "/admin/trainer/trainingrun/1/do/{}/",
]
API = "/api/predictImage"
UPLOAD = str(UUID(int=7))
IMPORT = {"name": "more", "upload": UPLOAD, "train": "0.8", "validation": "0.1", "test": "0.1", "seed": "1"}

Ask = Callable[[Client, bytes, str], Any]


def sent(path: str, fields: Callable[[str], dict[str, str]]) -> Ask:
    return lambda client, photo, payload: client.post(path, fields(payload))


def as_json(path: str, value: Callable[[str], object]) -> Ask:
    return lambda client, photo, payload: client.post(path, json.dumps(value(payload)), content_type="application/json")


def as_form(*parts: Callable[[bytes, str], bytes], path: str = API) -> Ask:
    return lambda client, photo, payload: client.post(
        path, form(*(one(photo, payload) for one in parts)), content_type=FORM
    )


def image(photo: bytes, payload: str) -> bytes:
    return part("image", photo)


CARRIED: dict[str, Ask] = {
    "an example": sent("/", lambda payload: {"example": payload}),
    "top_k in a form": as_form(image, lambda photo, payload: part("top_k", payload.encode(), file=None)),
    "top_k in the address": lambda client, photo, payload: client.post(
        f"{API}?top_k={quote(payload)}", photo, content_type="image/jpeg"
    ),
    "top_k in JSON": as_json(API, lambda payload: {"image_base64": "/9j/", "top_k": payload}),
    "base64": as_json(API, lambda payload: {"image_base64": payload}),
    "base64 after its kind": as_json(API, lambda payload: {"image_base64": f"data:image/jpeg;base64,{payload}"}),
    "a key of JSON": as_json(API, lambda payload: {payload: payload}),
    "the name of a field": as_form(image, lambda photo, payload: part(payload, b"x", file=None)),
    "the field of a file": as_form(lambda photo, payload: part(payload, photo)),
    "the name of a file": as_form(lambda photo, payload: part("image", photo, file=payload)),
    "the name of a file on the page": as_form(lambda photo, payload: part("image", photo, file=payload), path="/"),
    "the name of who signs in": sent("/login/", lambda payload: {"username": payload, "password": payload}),
    "a folder of the server": sent("/admin/trainer/dataset/add/", lambda payload: IMPORT | {"server": payload}),
    "a known set": sent("/admin/trainer/dataset/add/", lambda payload: IMPORT | {"builtin": payload}),
    "the name of an upload": sent("/admin/trainer/dataset/add/", lambda payload: IMPORT | {"upload_name": payload}),
    "the key of an upload": sent(
        "/admin/trainer/dataset/add/", lambda payload: IMPORT | {"upload_name": "a.zip", "upload": payload}
    ),
    "the name of a dataset": sent(
        "/admin/trainer/dataset/add/", lambda payload: IMPORT | {"upload_name": "a.zip", "name": payload}
    ),
    "a preset": sent("/admin/trainer/trainingrun/add/", lambda payload: {"preset": payload}),
    "fields of a run": sent(
        "/admin/trainer/trainingrun/add/",
        lambda payload: dict.fromkeys(("dataset", "name", "architecture", "weights", "parent"), payload),
    ),
    "a label": as_json("/admin/trainer/dataset/1/edit/", lambda payload: {"changes": {"1": {"label": payload}}}),
    "a photo to change": as_json("/admin/trainer/dataset/1/edit/", lambda payload: {"changes": {payload: {}}}),
    "a photo to show": as_json("/admin/trainer/dataset/1/examples/", lambda payload: {"photo": payload, "shown": True}),
}

opened: list[str] = []
listening = False


def hear(event: str, arguments: tuple[Any, ...]) -> None:
    if listening and event == "open" and isinstance(arguments[0], str | bytes):
        opened.append(str(arguments[0]))


@pytest.fixture
def administrator(admin_client: Client, active_version, settings, tmp_path: Path, monkeypatch) -> Client:
    """Who may reach every address, on a site with a dataset and a run."""
    settings.PREDICT_RATE = settings.LOGIN_RATE = None
    for name in ("DATASETS_DIR", "RUNS_DIR", "UPLOADS_DIR", "SETS_DIR", "FEATURES_DIR"):
        setattr(settings, name, tmp_path / name)
    settings.DATASETS_SOURCE_DIRS = [tmp_path]
    monkeypatch.setattr(jobs.app, "send_task", lambda name, **options: None)
    make_run(make_dataset(count=3))
    admin_client.raise_request_exception = False
    return admin_client


@pytest.fixture
def nothing_elsewhere(settings, tmp_path: Path) -> Iterator[None]:
    """Fails where a file was opened that is none of the site's."""
    global listening
    if not getattr(sys, "breedsite_hears", False):
        sys.addaudithook(hear)
        sys.breedsite_hears = True  # type: ignore[attr-defined]
    opened.clear()
    listening = True
    yield
    listening = False
    allowed = tuple(map(str, (ROOT, settings.DATA_DIR, tmp_path, sys.prefix, sys.base_prefix, "/usr/share/zoneinfo")))
    strangers = [path for path in opened if not path.startswith(allowed) and Path(path).is_absolute()]
    assert not [path for path in opened if any(path.endswith(target) for target in TARGETS)]
    assert not strangers, strangers[:5]


def tells_nothing(response: Any, secret_key: str) -> bool:
    said = b"".join(response)
    return b"root:x:0:" not in said and secret_key.encode() not in said


@pytest.mark.parametrize("place", READ)
def test_no_address_is_a_path(administrator: Client, nothing_elsewhere, settings, place: str):
    for payload in PAYLOADS:
        response = administrator.get(place.format(payload))
        assert response.status_code in {200, 301, 302, 400, 404}, (payload, response.status_code)
        assert tells_nothing(response, settings.SECRET_KEY)


@pytest.mark.parametrize("place", DONE)
def test_no_address_is_a_path_where_something_is_done(administrator, nothing_elsewhere, settings, place: str):
    for payload in PAYLOADS:
        response = administrator.post(place.format(payload), "x", content_type="application/octet-stream")
        assert response.status_code in {200, 301, 302, 400, 404, 405, 415}, (payload, response.status_code)
        assert tells_nothing(response, settings.SECRET_KEY)


@pytest.mark.parametrize("what", CARRIED)
def test_nothing_that_a_request_carries_is_a_path(
    administrator, nothing_elsewhere, settings, picture: bytes, what: str
):
    for payload in PAYLOADS:
        response = CARRIED[what](administrator, picture, payload)
        assert response.status_code < 500, (payload, response.status_code)
        assert tells_nothing(response, settings.SECRET_KEY)


def test_the_hook_hears_of_a_file_that_is_opened(nothing_elsewhere, tmp_path: Path):
    file = tmp_path / "seen"
    file.write_text("")
    assert str(file) in opened

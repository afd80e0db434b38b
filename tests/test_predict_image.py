"""POST /api/predictImage, by every kind of request that a program, a person or a fool may send."""

import base64
import json

import pytest
from django.test import Client

from classifier.problems import PROBLEMS
from tests.corpus import CASES, FILE_NAMES, OK
from tests.live import BOUNDARY, FORM, Wire, form, part

pytestmark = pytest.mark.usefixtures("active_version")
LABELS = ["beagle", "border_collie", "chow", "papillon", "pug"]
HEAD = b"POST /api/predictImage HTTP/1.1\r\nHost: localhost\r\n"
MB = 1024**2


@pytest.fixture(autouse=True)
def without_rate(settings):
    settings.PREDICT_RATE = None


def test_a_form_a_raw_body_and_base64_get_the_same_answer(wire: Wire, picture: bytes):
    encoded = base64.encodebytes(picture).decode()
    answers = [
        wire.form(part("image", picture)),
        wire.photo(picture),
        wire(
            "POST", "/api/predictImage", json.dumps({"image_base64": encoded}).encode(), content_type="application/json"
        ),
        wire.photo(picture, "/api/predictImage/"),
    ]
    assert [answer.status for answer in answers] == [200] * 4
    assert len({json.dumps(answer.json["results"]) for answer in answers}) == 1


def test_the_answer_is_what_the_contract_says(wire: Wire, picture: bytes, active_version):
    answer = wire.photo(picture)
    body = answer.json
    [row] = body["results"]
    assert answer.headers["Content-Type"] == "application/json"
    assert len(row) == len(LABELS) and sum(row) == pytest.approx(1, abs=1e-6)
    assert body["prediction"] == row.index(max(row))
    assert body["label"] == LABELS[body["prediction"]] == body["top"][0]["label"]
    assert [entry["probability"] for entry in body["top"]] == sorted(row, reverse=True)
    assert body["version"] == {"name": "tiny", "number": 1, "digest": active_version.digest}
    assert body["elapsed_ms"] > 0
    assert body["device"] == "cpu"
    assert body["sure"] is (max(row) >= active_version.spec["calibration"]["unsure_below"])
    assert body["message"].endswith(".") and "warning" not in body


def test_the_answer_has_the_keys_that_the_documentation_lists(wire: Wire, picture: bytes):
    from classifier.serializers import PredictionSerializer

    assert [*wire.photo(picture).json, "warning"] == list(PredictionSerializer().fields)


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("3", 3), ("5", 5), ("1000", 5), ("", 5)])
def test_the_caller_says_how_many_labels_are_ranked(wire: Wire, picture: bytes, asked: str, given: int):
    in_query = wire.photo(picture, f"/api/predictImage?top_k={asked}")
    in_form = wire.form(part("image", picture), part("top_k", asked.encode(), file=None))
    assert len(in_query.json["top"]) == len(in_form.json["top"]) == given


@pytest.mark.parametrize("asked", ["0", "-1", "1000000000", "1e3", "NaN", "a", "1.5", "٣", "1 ", "9" * 5000])
def test_it_refuses_a_senseless_count_of_labels(wire: Wire, picture: bytes, asked: str):
    answer = wire.form(part("image", picture), part("top_k", asked.encode(), file=None))
    assert (answer.status, answer.code) == (400, "malformed_request")
    assert "image" not in answer.json


@pytest.mark.parametrize("asked", [0, -1, 10**9, 1.5, True, "a", [1], {"a": 1}])
def test_it_refuses_a_senseless_count_of_labels_in_json(wire: Wire, picture: bytes, asked: object):
    answer = wire.json({"image_base64": base64.b64encode(picture).decode(), "top_k": asked})
    assert (answer.status, answer.code) == (400, "malformed_request")


def test_a_program_without_a_session_needs_no_database(client: Client, picture: bytes, django_assert_num_queries):
    with django_assert_num_queries(0):
        response = client.post("/api/predictImage", picture, content_type="image/jpeg")
    assert response.status_code == 200


def test_it_says_when_only_the_first_frame_was_looked_at(wire: Wire):
    answer = wire.photo(CASES["anim.webp"].data)
    assert answer.status == 200 and "first frame" in answer.json["warning"]


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_hostile_file_gets_its_code(wire: Wire, name: str):
    case = CASES[name]
    answer = wire.form(part("image", case.data, headers="Content-Type: text/html\r\n"))
    assert (OK if answer.status == 200 else answer.code) in case.codes
    if answer.status != 200:
        problem = answer.json
        assert answer.status == PROBLEMS[problem["code"]][0] == problem["status"]
        assert problem["image"] == [problem["detail"]]
        for word in (b"Traceback", b"/site-packages", b"Error(", b".py"):
            assert word not in answer.body


@pytest.mark.parametrize("name", FILE_NAMES, ids=ascii)
def test_the_file_name_does_not_matter(wire: Wire, picture: bytes, name: str):
    answer = wire.form(part("image", picture, file=name.replace('"', "%22").replace("\r\n", "%0D%0A")))
    assert answer.status == 200
    assert name.encode("utf-8", "surrogateescape")[:12] not in answer.body or not name


def test_the_content_types_do_not_matter(wire: Wire, make_picture):
    png = make_picture(format="PNG")
    assert wire.photo(png, content_type="image/jpeg").status == 200
    assert wire.photo(png, content_type="image/x-whatever").status == 200
    assert wire.form(part("image", png, headers="Content-Type: application/x-php\r\n")).status == 200


PICTURE = b"<picture>"  # stands for the bytes of a photo in the table below


def lengths(count: int, body: bytes) -> bytes:
    return HEAD + f"Content-Type: image/jpeg\r\nContent-Length: {count}\r\n\r\n".encode() + body


def as_form(body: bytes, content_type: str = FORM) -> bytes:
    return HEAD + f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def as_json(body: bytes) -> bytes:
    return as_form(body, "application/json")


ODD: dict[str, tuple[bytes, int, str]] = {
    "nothing at all": (HEAD + b"\r\n", 400, "missing_image"),
    "an empty file": (lengths(0, b""), 422, "image_empty"),
    "two files": (as_form(form(part("image", PICTURE), part("image", PICTURE))), 400, "too_many_files"),
    "two files of two names": (as_form(form(part("image", PICTURE), part("b", PICTURE))), 400, "too_many_files"),
    "another field": (as_form(form(part("file", PICTURE))), 400, "missing_image"),
    "a field that is no file": (as_form(form(part("image", b"text", file=None))), 400, "missing_image"),
    "an empty form": (as_form(form()), 400, "missing_image"),
    "a form of nothing": (as_form(b""), 400, "missing_image"),
    "a form without boundary": (as_form(form(part("image", PICTURE)), "multipart/form-data"), 400, "malformed_request"),
    "a boundary of 210 bytes": (as_form(b"x", f"multipart/form-data; boundary={'b' * 210}"), 400, "malformed_request"),
    "a form whose file was not chosen": (as_form(form(part("image", b"", file=""))), 400, "missing_image"),
    "a form with an empty file": (as_form(form(part("image", b""))), 422, "image_empty"),
    "a boundary of 10 KB": (
        as_form(b"x", f"multipart/form-data; boundary={'b' * 10240}"),
        415,
        "unsupported_format",
    ),
    "a form that ends too early": (as_form(form(part("image", PICTURE))[:60]), 400, "malformed_request"),
    "101 files": (as_form(form(*[part("image", PICTURE)] * 101)), 400, "too_many_files"),
    "21 fields": (
        as_form(form(part("image", PICTURE), *[part(f"f{i}", b"1", file=None) for i in range(21)])),
        400,
        "malformed_request",
    ),
    "1,001 fields": (
        as_form(form(part("image", PICTURE), *[part(f"f{i}", b"1", file=None) for i in range(1001)])),
        400,
        "malformed_request",
    ),
    "11 MiB": (as_form(form(part("image", b"\xff\xd8" + bytes(11 * MB)))), 413, "file_too_large"),
    "10 MiB and a byte": (as_form(form(part("image", bytes(10 * MB + 1)))), 413, "file_too_large"),
    "10 MiB and a byte, raw": (lengths(10 * MB + 1, bytes(10 * MB + 1)), 413, "file_too_large"),
    "10 MiB and a byte in base64": (
        as_json(b'{"image_base64": "' + base64.b64encode(bytes(10 * MB + 1)) + b'"}'),
        413,
        "file_too_large",
    ),
    "a body of 2 GB is declared": (lengths(2 * 1024**3, b"x"), 413, "file_too_large"),
    "a negative length": (lengths(-1, b""), 400, "malformed_request"),
    "a length in words": (HEAD + b"Content-Length: many\r\n\r\n", 400, "malformed_request"),
    "a length of 5,000 digits": (HEAD + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 400, "malformed_request"),
    "a length too small": (lengths(5, b"\xff\xd8\xff\xe0\x00"), 422, "image_truncated"),
    "a gzip body": (
        HEAD + b"Content-Encoding: gzip\r\n" + lengths(4, b"\x1f\x8b08")[len(HEAD) :],
        415,
        "unsupported_format",
    ),
    "urlencoded": (as_form(b"image=1", "application/x-www-form-urlencoded"), 415, "unsupported_format"),
    "a pickle": (as_form(b"\x80\x04K\x01.", "application/vnd.bentoml+pickle"), 415, "unsupported_format"),
    "JSON of nothing": (as_json(b""), 400, "missing_image"),
    "JSON that ends too early": (as_json(b'{"image_base64": "'), 400, "malformed_request"),
    "JSON without the photo": (as_json(b"{}"), 400, "missing_image"),
    "JSON that is a list": (as_json(b"[1]"), 400, "malformed_request"),
    "JSON that is a number": (as_json(b"NaN"), 400, "malformed_request"),
    "JSON nested 100,000 deep": (as_json(b"[" * 100_000), 400, "malformed_request"),
    "JSON of another encoding": (as_json(b'{"image_base64": "\xff\xfe"}'), 400, "malformed_request"),
    "a number for the photo": (as_json(b'{"image_base64": 7}'), 400, "missing_image"),
    "base64 that is none": (as_json(b'{"image_base64": "%%%"}'), 400, "malformed_request"),
    "base64 with letters of elsewhere": (as_json('{"image_base64": "ä€"}'.encode()), 400, "malformed_request"),
    "1 MB of spaces as base64": (as_json(b'{"image_base64": "' + b" " * MB + b'"}'), 422, "image_empty"),
    "a header of 64 KB": (HEAD + b"X-Long: " + b"x" * 65536 + b"\r\n\r\n", 431, "malformed_request"),
    "two lengths": (HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", 400, "malformed_request"),
    "another host": (b"POST /api/predictImage HTTP/1.1\r\nHost: evil.example\r\n\r\n", 400, "malformed_request"),
    "no host": (b"POST /api/predictImage HTTP/1.1\r\n\r\n", 400, "missing_image"),
    "HTTP/1.0": (b"POST /api/predictImage HTTP/1.0\r\nHost: localhost\r\n\r\n", 400, "missing_image"),
    "a word for a request": (b"hello\r\n\r\n", 400, "malformed_request"),
    "a bracket that does not close": (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400, "malformed_request"),
    "a transfer coding nobody knows": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 400, "malformed_request"),
    "chunks that are none": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400, "malformed_request"),
    "PUT": (b"PUT" + lengths(0, b"")[4:], 405, "method_not_allowed"),
    "DELETE": (b"DELETE" + lengths(0, b"")[4:], 405, "method_not_allowed"),
    "GET": (b"GET" + lengths(0, b"")[4:], 405, "method_not_allowed"),
}


@pytest.mark.parametrize("name", ODD)
def test_every_odd_request_is_refused_in_one_shape(wire: Wire, picture: bytes, name: str):
    request, status, code = ODD[name]
    answer = wire.raw(request, half_close=b"Transfer-Encoding" in request)
    assert (answer.status, answer.code) == (status, code)
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert answer.headers["X-Request-ID"] == answer.json["request_id"]
    assert answer.json.keys() >= {"type", "title", "status", "detail", "code", "request_id"}
    assert answer.json["status"] == status
    if code in {"missing_image", "too_many_files", "file_too_large"}:
        assert answer.json["image"] == [answer.json["detail"]]
    if code == "file_too_large":
        assert answer.json["limit_bytes"] in {10 * MB, 15 * MB}


def test_a_missing_file_is_said_in_the_words_of_the_old_api(wire: Wire):
    answer = wire.form(part("note", b"hello", file=None))
    assert answer.status == 400 and answer.json["image"] == ["No file was submitted."]


@pytest.mark.parametrize("accept", ["text/html", "application/xml", "*/*;q=0", "nonsense", ""])
def test_the_answer_is_json_whatever_is_accepted(wire: Wire, picture: bytes, accept: str):
    assert wire.photo(picture, accept=accept).headers["Content-Type"] == "application/json"
    assert wire.photo(b"GIF89a", accept=accept).headers["Content-Type"] == "application/problem+json"


def test_chunks_and_other_legal_oddities_are_answered(wire: Wire, picture: bytes):
    chunks = b"%x\r\n%s\r\n0\r\n\r\n" % (len(picture), picture)
    assert wire.raw(HEAD + b"Content-Type: image/jpeg\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks).status == 200
    assert wire.raw(lengths(len(picture), picture).replace(b"HTTP/1.1", b"HTTP/1.0", 1)).status == 200
    assert wire.photo(picture, "//api/predictImage").status == 200
    ten_mb = picture + bytes(10 * MB - len(picture))
    assert wire.form(part("image", ten_mb)).status == 200
    encoded = base64.b64encode(picture)
    part_in_base64 = part("image", encoded, headers="Content-Transfer-Encoding: base64\r\n")
    assert wire.form(part_in_base64).status == 415, "the bytes decide, and these are text"
    data_url = json.dumps({"image_base64": "data:image/jpeg;base64," + encoded.decode()}).encode()
    assert wire.raw(as_json(data_url)).status == 200
    assert wire("OPTIONS", "/api/predictImage").status == 200
    assert wire("HEAD", "/api/predictImage").status == 405


def test_two_requests_on_one_connection_are_answered_in_turn(wire: Wire, picture: bytes):
    import socket

    with socket.create_connection(("127.0.0.1", wire.port), timeout=30) as connection:
        connection.sendall(lengths(len(picture), picture) * 2)
        said = b""
        while said.count(b'"elapsed_ms"') < 2:
            more = connection.recv(100_000)
            assert more, "the connection was closed before the second answer"
            said += more
    assert said.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_larger_than_its_header_says_is_a_second_request(wire: Wire, picture: bytes):
    assert wire.raw(lengths(len(picture), picture + b"and more\r\n\r\n")).status == 200


def test_without_an_active_version_it_says_so(wire: Wire, picture: bytes, active_version):
    from django.apps import apps

    type(active_version).objects.update(is_active=False)
    apps.get_app_config("classifier").start().step()
    answer = wire.photo(picture)
    assert (answer.status, answer.code) == (503, "no_active_model")
    assert 3 <= int(answer.headers["Retry-After"]) <= 7


def test_a_mistake_of_ours_shows_a_number_and_nothing_else(client: Client, picture: bytes, monkeypatch, caplog):
    from classifier.predictor import Predictor

    def break_down(self, data):
        raise RuntimeError("the secret of line 7")

    monkeypatch.setattr(Predictor, "predict", break_down)
    client.raise_request_exception = False
    response = client.post("/api/predictImage", picture, content_type="image/jpeg")
    assert (response.status_code, response.json()["code"]) == (500, "internal_error")
    assert b"secret" not in response.content and response.json()["request_id"] == response.headers["X-Request-ID"]
    [record] = [record for record in caplog.records if record.exc_info]
    assert record.request.META["breedsite.request_id"] == response.json()["request_id"]


def test_a_client_that_hangs_up_is_no_mistake_of_ours(rf, picture: bytes):
    from io import BytesIO

    from classifier.api import PredictImage

    class Gone(BytesIO):
        def read(self, *_: object) -> bytes:
            raise OSError("connection reset by peer")

    request = rf.post("/api/predictImage", form(part("image", picture)), content_type=FORM)
    request._stream.stream = request.environ["wsgi.input"] = Gone()
    request._stream._read = request._stream.stream.read
    response = PredictImage.as_view()(request)
    assert response.status_code == 400 and json.loads(response.content)["code"] == "malformed_request"


def test_the_boundary_of_the_tests_is_not_in_the_pictures(picture: bytes):
    assert BOUNDARY.encode() not in picture

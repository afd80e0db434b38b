"""What a program asks for twice, for it heard no answer, is made once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from io import BytesIO
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.contrib.auth.models import Group, User
from django.db import connection
from django.http import HttpResponse
from django.utils import timezone
from rest_framework.parsers import JSONParser, MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory

from breedsite import keys
from breedsite.access import ProgramView
from breedsite.idempotency import once
from breedsite.models import ApiKey, Receipt
from classifier.problems import Refused


class Groups(ProgramView):
    """Makes a group; of an empty name it makes one and then finds fault with it."""

    scopes = {"POST": "train"}
    parser_classes = [JSONParser, MultiPartParser]
    meanwhile = staticmethod(lambda: None)  # between the work and the answer

    @once
    def post(self, request: Request) -> Response:
        name = request.data["name"] if "name" in request.data else request.data["file"].name
        group = Group.objects.create(name=name)
        type(self).meanwhile()
        if name == "refused":
            raise Refused("malformed_request", "Not that.")
        if name == "bad":
            return Response({"name": "Not that."}, status=400)
        made = {"id": group.pk, "name": name, "share": 0.1}
        return Response(made, status=201, headers={"Location": f"/api/groups/{group.pk}"})


@pytest.fixture(autouse=True)
def nothing_known() -> None:
    keys.known.clear()


def secret_of(user: User, name: str = "robot") -> str:
    return ApiKey.objects.issue(user, name=name, scopes=["train"])[1]


def post(
    secret: str, key: str | None, data: Any = None, *, path: str = "/api/groups", format: str = "json"
) -> HttpResponse:
    headers = {"authorization": f"Bearer {secret}"} | ({} if key is None else {"idempotency-key": key})
    data = {"name": "dogs"} if data is None else data
    response = Groups.as_view()(APIRequestFactory().post(path, data, format=format, headers=headers))
    return response if not hasattr(response, "render") else response.render()


@pytest.fixture
def secret(db) -> str:
    return secret_of(User.objects.create_user("ann"))


@pytest.fixture
def meanwhile(monkeypatch):
    """Something else happens before the answer of the view is kept, once."""

    def happens(what: Any) -> None:
        def first() -> None:
            monkeypatch.undo()
            what()

        monkeypatch.setattr(Groups, "meanwhile", staticmethod(first))

    return happens


def test_the_second_time_it_hears_the_first_answer(secret):
    first, second = post(secret, "a"), post(secret, "a")
    assert first.status_code == second.status_code == 201 and first.content == second.content
    assert first["Location"] == second["Location"]
    assert "Idempotency-Replayed" not in first and second["Idempotency-Replayed"] == "true"
    assert Group.objects.count() == 1


def test_without_the_header_everything_is_made_as_often_as_it_is_asked_for(secret):
    post(secret, None, {"name": "dogs"}), post(secret, None, {"name": "cats"})
    assert Group.objects.count() == 2 and not Receipt.objects.exists()


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ({"name": "cats"}, "/api/groups"),
        ({"name": "dogs", "more": 1}, "/api/groups"),
        (["dogs"], "/api/groups"),
        (None, "/api/groups?a=1"),
    ],
)
def test_the_same_key_with_another_request_is_refused(secret, data, path):
    post(secret, "a")
    refused = post(secret, "a", data, path=path)
    assert refused.status_code == 422 and b'"idempotency_key_reused"' in refused.content
    assert Group.objects.count() == 1


def test_the_order_of_fields_is_no_other_request(secret):
    post(secret, "a", {"name": "dogs", "x": 1})
    assert post(secret, "a", {"x": 1, "name": "dogs"})["Idempotency-Replayed"] == "true"


def named(name: str, content: bytes) -> BytesIO:
    file = BytesIO(content)
    file.name = name
    return file


def test_a_form_with_a_file_is_the_same_whatever_boundary_it_has(secret, monkeypatch):
    boundaries = iter(["one", "two", "three", "four"])
    monkeypatch.setattr("rest_framework.test.APIRequestFactory._encode_data", other_boundary(boundaries))
    first = post(secret, "a", {"file": named("dogs.zip", b"bytes")}, format="multipart")
    assert first.status_code == 201
    again = post(secret, "a", {"file": named("dogs.zip", b"bytes")}, format="multipart")
    assert again["Idempotency-Replayed"] == "true"
    for file in (named("dogs.zip", b"other bytes"), named("cats.zip", b"bytes")):
        assert post(secret, "a", {"file": file}, format="multipart").status_code == 422


def other_boundary(boundaries: Iterator[str]) -> Any:
    from django.test.client import encode_multipart

    def encode(
        self: object, data: Any, format: str | None = None, content_type: str | None = None
    ) -> tuple[bytes, str]:
        boundary = next(boundaries)
        return encode_multipart(boundary, data), f"multipart/form-data; boundary={boundary}"

    return encode


def test_callers_addresses_and_keys_do_not_meet(secret):
    second, other = secret_of(User.objects.get(), "second"), User.objects.create_user("bob")
    made = [
        post(secret, "a"),
        post(secret, "b", {"name": "b"}),
        post(secret, "a", {"name": "c"}, path="/api/other"),
        post(second, "a", {"name": "d"}),
        post(secret_of(other), "a", {"name": "e"}),
    ]
    assert [answer.status_code for answer in made] == [201] * 5 and Group.objects.count() == 5
    assert post(secret, "a", path="/api/groups/")["Idempotency-Replayed"] == "true", "the same with a slash at its end"


@pytest.mark.parametrize(("name", "status"), [("refused", 400), ("bad", 400)])
def test_what_was_refused_made_nothing_and_may_be_sent_again(secret, name, status):
    for _ in range(2):
        refused = post(secret, "a", {"name": name})
        assert refused.status_code == status and "Idempotency-Replayed" not in refused
    assert not Group.objects.exists() and not Receipt.objects.exists()
    assert post(secret, "a").status_code == 201


def test_an_error_of_ours_leaves_nothing_behind(secret, meanwhile):
    meanwhile(lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        post(secret, "a")
    assert not Group.objects.exists() and not Receipt.objects.exists()
    assert post(secret, "a").status_code == 201


@pytest.mark.parametrize("key", ["", "two words", "a\nb", "ü", "x" * 256])
def test_what_is_no_key_is_said(secret, key):
    refused = post(secret, key)
    assert refused.status_code == 400 and b"1 to 255 letters" in refused.content
    assert not Group.objects.exists()


@pytest.mark.parametrize("key", ["x" * 255, '"8e03978e-40d5-43e8-bc93-6894a57f9324"', "%00';--"])
def test_keys_are_what_programs_like(secret, key):
    assert [post(secret, key).status_code for _ in range(2)] == [201, 201]
    assert Group.objects.count() == 1


def test_who_asks_again_while_the_first_is_at_work_hears_409(secret, meanwhile):
    answers = []
    meanwhile(lambda: answers.append(post(secret, "a")))
    assert post(secret, "a").status_code == 201
    [during] = answers
    assert during.status_code == 409 and b'"request_in_progress"' in during.content and during["Retry-After"] == "1"
    assert post(secret, "a")["Idempotency-Replayed"] == "true" and Group.objects.count() == 1


def test_the_work_of_the_dead_is_done_again_after_the_lease(secret, settings):
    """Killed between the receipt and the answer: the transaction of its work has gone with it."""
    post(secret, "a")
    Group.objects.all().delete()
    Receipt.objects.update(status=None, begun_at=timezone.now() - timedelta(seconds=settings.LEASE_SECONDS - 5))
    assert post(secret, "a").status_code == 409
    Receipt.objects.update(begun_at=timezone.now() - timedelta(seconds=settings.LEASE_SECONDS + 5))
    assert post(secret, "a").status_code == 201 and Group.objects.count() == 1
    assert post(secret, "a")["Idempotency-Replayed"] == "true"


SCRIPT = """
import os, pathlib, signal, sys, django
django.setup()
from django.conf import settings
from django.contrib.auth.models import Group, User
from breedsite.models import Receipt
from tests.test_idempotency import Groups, post, secret_of
user, _ = User.objects.get_or_create(username="ann")
settings.LEASE_SECONDS = 0
if sys.argv[1] == "killed":
    Groups.meanwhile = staticmethod(lambda: os.kill(os.getpid(), signal.SIGKILL))
file = pathlib.Path("secret")
file.exists() or file.write_text(secret_of(user))
answer = post(file.read_text(), "a")
print(answer.status_code, "Idempotency-Replayed" in answer, Group.objects.count(), Receipt.objects.count())
"""


def test_a_process_that_is_killed_leaves_nothing_and_the_next_does_it(tmp_path):
    environment = os.environ | {
        "DATA_DIR": str(tmp_path),
        "DATABASE_URL": f"sqlite:///{tmp_path / 'site.sqlite3'}",
        "PYTHONPATH": str(settings.BASE_DIR),
    }

    def run(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100
        )

    run(str(settings.BASE_DIR / "manage.py"), "migrate").check_returncode()
    killed = [run("-c", SCRIPT, "killed") for _ in range(3)]
    assert [done.returncode for done in killed] == [-signal.SIGKILL] * 3
    assert run("-c", SCRIPT, "calm").stdout == "201 False 1 1\n", "made once, for the three before it made nothing"
    assert run("-c", SCRIPT, "calm").stdout == "201 True 1 1\n"


def test_who_was_taken_for_dead_makes_nothing(secret, meanwhile, monkeypatch):
    """Its work is undone, and it tells what the other made, or that the other is at work."""
    finish = Receipt.finish

    def too_late(receipt: Receipt, *answer: Any) -> bool:
        receipt.token = uuid4()  # another has taken over meanwhile
        return finish(receipt, *answer)

    monkeypatch.setattr(Receipt, "finish", too_late)
    assert post(secret, "a").status_code == 409
    assert not Group.objects.exists() and Receipt.objects.get().status is None


def test_of_those_who_take_over_at_once_one_wins(secret, settings):
    post(secret, "a")
    Receipt.objects.update(status=None, begun_at=timezone.now() - timedelta(days=1))
    two = [Receipt.objects.get(), Receipt.objects.get()]
    assert [receipt.take_over() for receipt in two] == [True, False]


def test_keys_are_forgotten_after_a_day(secret):
    post(secret, "a")
    Receipt.objects.update(created_at=timezone.now() - timedelta(hours=23))
    assert post(secret, "a")["Idempotency-Replayed"] == "true"
    Receipt.objects.update(created_at=timezone.now() - timedelta(hours=25))
    assert "Idempotency-Replayed" not in post(secret, "b", {"name": "cats"})
    assert list(Receipt.objects.values_list("key", flat=True)) == ["b"]


@pytest.mark.django_db(transaction=True)
def test_of_many_at_once_one_makes_it_and_nobody_hears_an_error():
    secret = secret_of(User.objects.create_user("ann"))
    ready, answers = threading.Barrier(8), []

    def ask() -> None:
        ready.wait(30)
        answers.append(post(secret, "a"))
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    made = [answer for answer in answers if answer.status_code == 201]
    assert len(answers) == 8 and {answer.status_code for answer in answers} <= {201, 409}
    assert len([answer for answer in made if "Idempotency-Replayed" not in answer]) == 1
    assert Group.objects.count() == 1


def test_pages_of_other_sites_that_may_ask_may_send_the_header(client, active_version, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://a.example"]
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    allowed = client.options("/api/predictImage", headers=asked)["Access-Control-Allow-Headers"]
    assert "idempotency-key" in allowed and "authorization" in allowed
    answered = client.get("/api/model", headers=asked)
    assert "Idempotency-Replayed" in answered["Access-Control-Expose-Headers"]


def test_a_receipt_names_the_request_and_nothing_secret(secret):
    post(secret, "a")
    assert str(Receipt.objects.get()) == "POST /api/groups a" and secret[19:] not in str(Receipt.objects.values().get())

"""Who may do what: every address, by every method, for every kind of caller. A new address needs a line here."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from classifier.models import ModelVersion
from trainer.models import Dataset, TrainingRun
from trainer.recipe import Recipe

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
ROLES = ("anonymous", "user", "staff", "admin")  # staff: may enter the admin, and has no permission in it

REFUSED = 405
LOGIN = 302  # to the login page
PUBLIC = {"GET": 200}

# route -> method -> the status for everybody, or by role. A method that is not named is 405 for everybody.
ACCESS: dict[str, dict[str, int | dict[str, int]]] = {
    "": {"GET": 200, "POST": 400},
    "examples/<slug:id>.jpg": {"GET": 404},
    "api/predictImage": {"POST": 400},
    "api/predictImage/": {"POST": 400},
    "api/model": PUBLIC,
    "api/model/": PUBLIC,
    "api/schema": PUBLIC,
    "api/schema/": PUBLIC,
    "api/docs": PUBLIC,
    "api/docs/": PUBLIC,
    "readyz": PUBLIC,
}
# Of the admin: route -> the status of a GET for staff without permission, and for the administrator.
ADMIN: dict[str, tuple[int, int]] = {
    "": (200, 200),
    "autocomplete/": (403, 403),
    "jsi18n/": (200, 200),
    "password_change/": (200, 200),
    "password_change/done/": (200, 200),
    "r/<path:content_type_id>/<path:object_id>/": (404, 404),
    "<app_label>/": (404, 200),
    "(?P<url>.*)$": (404, 404),
    "auth/group/": (403, 200),
    "auth/group/add/": (403, 200),
    "auth/group/<path:object_id>/": (302, 302),
    "auth/group/<path:object_id>/history/": (403, 200),
    "auth/group/<path:object_id>/delete/": (403, 200),
    "auth/group/<path:object_id>/change/": (403, 200),
    "auth/user/": (403, 200),
    "auth/user/add/": (403, 200),
    "auth/user/<id>/password/": (403, 200),
    "auth/user/<path:object_id>/": (302, 302),
    "auth/user/<path:object_id>/history/": (403, 200),
    "auth/user/<path:object_id>/delete/": (403, 200),
    "auth/user/<path:object_id>/change/": (403, 200),
    "classifier/modelversion/": (403, 200),
    "classifier/modelversion/add/": (403, 403),
    "classifier/modelversion/<path:object_id>/": (302, 302),
    "classifier/modelversion/<path:object_id>/history/": (403, 200),
    "classifier/modelversion/<path:object_id>/delete/": (403, 403),
    "classifier/modelversion/<path:object_id>/change/": (403, 200),
    "classifier/modelversion/<path:object_id>/activate/": (403, 200),
    "classifier/modelversion/<path:object_id>/figures/<slug:table>/": (403, 200),
    "trainer/dataset/": (403, 200),
    "trainer/dataset/add/": (403, 200),
    "trainer/dataset/<path:object_id>/": (302, 302),
    "trainer/dataset/<path:object_id>/history/": (403, 200),
    "trainer/dataset/<path:object_id>/delete/": (403, 403),
    "trainer/dataset/<path:object_id>/change/": (403, 200),
    "trainer/dataset/<path:object_id>/progress/": (403, 200),
    "trainer/dataset/<path:object_id>/cancel/": (403, 405),
    "trainer/dataset/<path:object_id>/photos/": (403, 200),
    "trainer/dataset/<path:object_id>/edit/": (403, 405),
    "trainer/dataset/<path:object_id>/examples/": (403, 405),
    "trainer/dataset/<int:object_id>/photos/<int:photo>/": (403, 404),  # a photo that is not there
    "trainer/dataset/upload/<uuid:key>/": (403, 200),
    "trainer/trainingrun/": (403, 200),
    "trainer/trainingrun/add/": (403, 200),
    "trainer/trainingrun/compare/": (403, 302),
    "trainer/trainingrun/network/": (403, 200),
    "trainer/trainingrun/features/empty/": (403, 405),
    "trainer/trainingrun/<path:object_id>/": (302, 302),
    "trainer/trainingrun/<path:object_id>/history/": (403, 200),
    "trainer/trainingrun/<path:object_id>/delete/": (403, 403),
    "trainer/trainingrun/<path:object_id>/change/": (403, 200),
    "trainer/trainingrun/<path:object_id>/state/": (403, 200),
    "trainer/trainingrun/<path:object_id>/epochs.csv": (403, 200),
    "trainer/trainingrun/<path:object_id>/run.json": (403, 200),
    "trainer/trainingrun/<path:object_id>/do/<slug:verb>/": (403, 405),
}
FOR_ALL = {"login/", "logout/"}


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        # The admin's own page of each app is one pattern that names them all.
        route = prefix + re.sub(r"^\^\(\?P<app_label>[a-z|]+\)/\$$", "<app_label>/", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


ROUTES = dict(routes(get_resolver().url_patterns))
OF_ADMIN = [route.removeprefix("admin/") for route in ROUTES if route.startswith("admin/")]


def address(route: str) -> str:
    """Of an object that is there."""
    models = {"modelversion": ModelVersion, "dataset": Dataset, "trainingrun": TrainingRun, "group": Group}
    model = next((model for name, model in models.items() if name in route), User)
    pk = str(model.objects.order_by("pk")[0].pk)
    for part in ("<path:object_id>", "<int:object_id>", "<id>", "<path:content_type_id>"):
        route = route.replace(part, pk)
    route = (
        route.replace("<slug:verb>", "stop")
        .replace("<slug:table>", "labels")
        .replace("<app_label>", "classifier")
        .replace("<uuid:key>", "8ad0ee2c-5a6d-4c05-b7a4-6d39a51a2b31")
    )
    route = route.replace("(?P<url>.*)$", "nothing/here/")
    return "/" + route.replace("<slug:id>", "0123456789abcdef").replace("<int:photo>", "1")


@pytest.fixture
def people(db, active_version) -> dict[str, Client]:
    """A client for each role, signed in."""
    Group.objects.create(name="group")
    dataset = Dataset.objects.create(name="dogs", number=1, status="ready")
    TrainingRun.objects.create(dataset=dataset, name="dogs", recipe=Recipe().as_dict())
    users = {
        "user": User.objects.create_user("user"),
        "staff": User.objects.create_user("staff", is_staff=True),
        "admin": User.objects.create_superuser("admin"),
    }
    clients = {role: Client(raise_request_exception=False) for role in ROLES}
    for role, user in users.items():
        clients[role].force_login(user)
    return clients


def ask(client: Client, method: str, path: str) -> int:
    return client.generic(method, path).status_code


def test_every_address_has_its_line():
    public = {route for route in ROUTES if not route.startswith("admin/")}
    assert public == set(ACCESS)
    assert set(OF_ADMIN) == set(ADMIN) | FOR_ALL


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", ACCESS)
def test_public_addresses_answer_whom_they_should(people, active_version, route: str, role: str):
    path = address(route)
    for method in METHODS:
        allowed = ACCESS[route].get(method, REFUSED)
        expected = allowed if isinstance(allowed, int) else allowed[role]
        assert ask(people[role], method, path) == expected, (method, path)


@pytest.mark.parametrize("route", ADMIN)
def test_the_admin_is_for_those_who_may(people, active_version, route: str):
    path = address("admin/" + route)
    for method in METHODS:
        for role in ("anonymous", "user"):
            assert ask(people[role], method, path) == LOGIN, (method, path, role)
    for role, expected in zip(("staff", "admin"), ADMIN[route], strict=True):
        assert ask(people[role], "GET", path) == expected, (path, role)
    for method in METHODS[1:]:
        assert ask(people["staff"], method, path) in {200, 302, 403, 404, 405}, (method, path)


def test_what_only_signed_in_people_may_do_is_refused_with_401(client: Client, people, picture, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = False
    for path in ("/api/predictImage", "/api/predictImage/"):
        response = client.post(path, picture, content_type="image/jpeg")
        assert (response.status_code, response.json()["code"]) == (401, "auth_required")
        assert response.headers["WWW-Authenticate"] == "Session"
    assert client.post("/", {}).status_code == 401
    assert people["user"].post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200


def test_staff_without_permission_activates_nothing(people, active_version):
    path = f"/admin/classifier/modelversion/{active_version.pk}/activate/"
    for role in ("anonymous", "user", "staff"):
        assert ask(people[role], "POST", path) in {302, 403}
        active_version.refresh_from_db()
        before = active_version.activated_at
    active_version.refresh_from_db()
    assert active_version.activated_at == before

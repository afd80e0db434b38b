"""Who may do what: every address, by every method, for every kind of caller. A new address needs a line here.

The objects that the addresses name are the administrator's: where people see their own alone, others get 404. The keys
are the administrator's, too, so that their scope is all that holds them back.
"""

import re
from collections.abc import Iterator
from http.cookies import SimpleCookie
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from breedsite import keys
from breedsite.models import ApiKey
from breedsite.models.key import INCLUDED, Scope
from classifier.models import Batch, ModelVersion
from trainer.models import Dataset, TrainingRun
from trainer.recipe import Recipe

METHODS = ("GET", "PUT", "PATCH", "DELETE", "POST")  # the last may sign who asks out
PEOPLE = ("user", "staff", "admin")  # staff: may enter the admin, and has no permission in it
KEYS = tuple(f"{scope} key" for scope in Scope.values)
ROLES = ("anonymous", *PEOPLE, *KEYS)

REFUSED = 405
LOGIN = 302  # to the login page
PUBLIC = {"GET": 200}
OUTSIDE = {"anonymous": LOGIN, "user": LOGIN, "staff": REFUSED, "admin": REFUSED}

Expected = int | dict[str, int]  # for everybody, or by role: who is not named fares as nobody in particular does


def keyed(scope: str, status: int, *, anonymous: int = 401, **people: int) -> dict[str, int]:
    """Of an address for programs: `status` for who signed in and for keys with the scope. `people` are exceptions, such
    as user=404 where the object is another's."""
    by_key = {f"{own} key": status if scope in INCLUDED[own] else 403 for own in Scope.values}
    return dict.fromkeys(PEOPLE, status) | by_key | {"anonymous": anonymous} | people


def his(scope: str, status: int) -> dict[str, int]:
    """The same where people see their own alone."""
    return keyed(scope, status, user=404, staff=404)


PREDICT = {"POST": keyed("predict", 400, anonymous=400), "*": keyed("predict", 405, anonymous=405)}
OWN = {"anonymous": LOGIN, **dict.fromkeys(PEOPLE, 200)}  # a page for people who signed in
SIGN_IN = OWN | dict.fromkeys(PEOPLE, REFUSED)  # another method of such a page
NOT_THERE = dict.fromkeys(ROLES, REFUSED) | {"anonymous": 401}  # another method of an address for programs

# route -> method -> the status. "*" stands for the methods that are not named; without it they are 405 for everybody.
ACCESS: dict[str, dict[str, Expected]] = {
    "": {"GET": 200, "POST": keyed("predict", 400, anonymous=400)},
    "examples/<slug:id>.jpg": {"GET": 404},
    "api/predictImage": PREDICT,
    "api/predictImage/": PREDICT,
    "api/model": PUBLIC,
    "api/model/": PUBLIC,
    "api/versions": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/versions/<int:pk>": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/versions/<int:pk>/activate": {"POST": keyed("admin", 200, user=403, staff=403), "*": NOT_THERE},
    "api/versions/<int:pk>/export": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/datasets": {
        "GET": keyed("read", 200, user=403, staff=403),
        "POST": keyed("train", 422, user=403, staff=403),
        "*": NOT_THERE,
    },
    "api/datasets/upload/<uuid:key>": {
        "GET": keyed("train", 200, user=403, staff=403),
        "PUT": keyed("train", 400, user=403, staff=403),
        "*": NOT_THERE,
    },
    "api/datasets/<int:pk>": {
        "GET": keyed("read", 200, user=403, staff=403),
        "DELETE": keyed("train", 409, user=403, staff=403),  # a run was started on it
        "*": NOT_THERE,
    },
    "api/datasets/<int:pk>/report": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/datasets/<int:pk>/photos": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/datasets/<int:pk>/stop": {"POST": keyed("train", 409, user=403, staff=403), "*": NOT_THERE},
    "api/runs": {
        "GET": keyed("read", 200, user=403, staff=403),
        "POST": keyed("train", 422, user=403, staff=403),
        "*": NOT_THERE,
    },
    "api/runs/<int:pk>": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/runs/<int:pk>/stop": {"POST": keyed("train", 200, user=403, staff=403), "*": NOT_THERE},
    "api/runs/<int:pk>/resume": {"POST": keyed("train", 409, user=403, staff=403), "*": NOT_THERE},  # it waits
    "api/runs/<int:pk>/clone": {"POST": keyed("train", 201, user=403, staff=403), "*": NOT_THERE},
    "api/runs/<int:pk>/epochs.csv": {"GET": keyed("read", 200, user=403, staff=403), "*": NOT_THERE},
    "api/schema": PUBLIC,
    "api/schema/": PUBLIC,
    "api/docs": PUBLIC,
    "api/docs/": PUBLIC,
    "api/batches": {"GET": keyed("read", 200), "POST": keyed("predict", 400), "*": NOT_THERE},
    "api/batches/<int:pk>": {"GET": his("read", 200), "DELETE": his("predict", 204), "*": NOT_THERE},
    "api/batches/<int:pk>/files": {"POST": his("predict", 400), "*": NOT_THERE},
    "api/batches/<int:pk>/archive": {"PUT": his("predict", 400), "*": NOT_THERE},
    "api/batches/<int:pk>/start": {"POST": his("predict", 409), "*": NOT_THERE},  # no photo has come
    "api/batches/<int:pk>/stop": {"POST": his("predict", 200), "*": NOT_THERE},
    "api/batches/<int:pk>/resume": {"POST": his("predict", 409), "*": NOT_THERE},
    "api/batches/<int:pk>/items": {"GET": his("read", 200), "*": NOT_THERE},
    "api/batches/<int:pk>/results": {"GET": his("read", 409), "*": NOT_THERE},
    "batches/": {"GET": OWN, "POST": dict.fromkeys(ROLES, 401) | dict.fromkeys(PEOPLE, 400)},
    "batches/<int:pk>/": {"GET": OWN | {"user": 404, "staff": 404}, "*": SIGN_IN},
    "batches/<int:pk>/<int:position>/": {"GET": OWN | dict.fromkeys(PEOPLE, 404), "*": SIGN_IN},  # no photo has come
    "batches/<int:pk>/<int:position>/<slug:size>.jpg": {"GET": OWN | dict.fromkeys(PEOPLE, 404), "*": SIGN_IN},
    "batches/<int:pk>/do/<slug:verb>/": {"POST": OWN | {"user": 404, "staff": 404, "admin": 302}, "*": SIGN_IN},
    "readyz": PUBLIC,
    "metrics": PUBLIC,  # from this machine; from elsewhere see test_metrics.py
    "login/": {"GET": 200, "POST": 200, "PUT": 200},  # a PUT is an empty form
    "logout/": {"POST": 302},
    "keys/": {"GET": OWN, "POST": OWN | dict.fromkeys(PEOPLE, 400), "*": OWN | dict.fromkeys(PEOPLE, REFUSED)},
    "keys/<slug:prefix>/revoke/": {
        "POST": {"anonymous": LOGIN, "user": 404, "staff": 404, "admin": 302},
        "*": OWN | dict.fromkeys(PEOPLE, REFUSED),
    },
    "admin/login/": {"GET": {"anonymous": 200, "user": 200, "staff": 302, "admin": 302}, "POST": 200, "PUT": 200},
    "admin/logout/": dict.fromkeys(METHODS, OUTSIDE) | {"POST": OUTSIDE | {"staff": 200, "admin": 200}},
}
READ = {"GET": 200}
ALL_READ = 200  # Django's admin takes for reading whatever is no POST
KEPT = {**dict.fromkeys(METHODS, 200), "POST": 403}  # may be seen, not changed
# Of the admin: route -> the status for staff without permission, and for the administrator. A number holds for every
# method; where methods are named, the others are 405.
ADMIN: dict[str, tuple[int | dict[str, int], int | dict[str, int]]] = {
    "": (ALL_READ, ALL_READ),
    "autocomplete/": ({"GET": 403}, {"GET": 403}),
    "jsi18n/": (READ, READ),
    "password_change/": ({"GET": 200, "POST": 200, "PUT": 200}, {"GET": 200, "POST": 200, "PUT": 200}),
    "password_change/done/": (READ, READ),
    "r/<path:content_type_id>/<path:object_id>/": (404, 404),
    "<app_label>/": (404, ALL_READ),
    "(?P<url>.*)$": (404, 404),
    "auth/group/": (403, ALL_READ),
    "auth/group/add/": (403, ALL_READ),
    "auth/group/<path:object_id>/": (302, 302),
    "auth/group/<path:object_id>/history/": (403, ALL_READ),
    "auth/group/<path:object_id>/delete/": (403, ALL_READ),
    "auth/group/<path:object_id>/change/": (403, ALL_READ),
    "auth/user/": (403, ALL_READ),
    "auth/user/add/": (403, ALL_READ),
    "auth/user/<id>/password/": (403, ALL_READ),
    "auth/user/<path:object_id>/": (302, 302),
    "auth/user/<path:object_id>/history/": (403, ALL_READ),
    "auth/user/<path:object_id>/delete/": (403, ALL_READ),
    "auth/user/<path:object_id>/change/": (403, ALL_READ),
    "breedsite/apikey/": (403, ALL_READ),
    "breedsite/apikey/add/": (403, ALL_READ),
    "breedsite/apikey/<path:object_id>/": (302, 302),
    "breedsite/apikey/<path:object_id>/history/": (302, ALL_READ),  # another's key is not there
    "breedsite/apikey/<path:object_id>/delete/": (403, ALL_READ),
    "breedsite/apikey/<path:object_id>/change/": (403, KEPT),
    "breedsite/apikey/<path:object_id>/revoke/": (403, {**dict.fromkeys(METHODS, 200), "POST": 302}),
    "classifier/batch/": (403, ALL_READ),
    "classifier/batch/add/": (403, 403),
    "classifier/batch/<path:object_id>/": (302, 302),
    "classifier/batch/<path:object_id>/history/": (403, ALL_READ),
    "classifier/batch/<path:object_id>/delete/": (403, 403),
    "classifier/batch/<path:object_id>/change/": (403, KEPT),
    "classifier/modelversion/": (403, ALL_READ),
    "classifier/modelversion/add/": (403, 403),
    "classifier/modelversion/<path:object_id>/": (302, 302),
    "classifier/modelversion/<path:object_id>/history/": (403, ALL_READ),
    "classifier/modelversion/<path:object_id>/delete/": (403, 403),
    "classifier/modelversion/<path:object_id>/change/": (403, KEPT),
    "classifier/modelversion/<path:object_id>/activate/": (403, {**dict.fromkeys(METHODS, 200), "POST": 302}),
    "classifier/modelversion/<path:object_id>/figures/<slug:table>/": (403, READ),
    "trainer/dataset/": (403, ALL_READ),
    "trainer/dataset/add/": (403, ALL_READ),
    "trainer/dataset/<path:object_id>/": (302, 302),
    "trainer/dataset/<path:object_id>/history/": (403, ALL_READ),
    "trainer/dataset/<path:object_id>/delete/": (403, 403),
    "trainer/dataset/<path:object_id>/change/": (403, KEPT),
    "trainer/dataset/<path:object_id>/progress/": ({"GET": 403}, READ),
    "trainer/dataset/<path:object_id>/cancel/": ({"POST": 403}, {"POST": 302}),
    "trainer/dataset/<path:object_id>/report.json": ({"GET": 403}, READ),
    "trainer/dataset/<path:object_id>/photos.csv": ({"GET": 403}, READ),
    "trainer/dataset/<path:object_id>/photos/": ({"GET": 403}, READ),
    "trainer/dataset/<path:object_id>/edit/": ({"POST": 403}, {"POST": 400}),
    "trainer/dataset/<path:object_id>/examples/": ({"POST": 403}, {"POST": 400}),
    "trainer/dataset/<int:object_id>/photos/<int:photo>/": ({"GET": 403}, {"GET": 404}),  # a photo that is not there
    "trainer/dataset/upload/<uuid:key>/": (403, {"GET": 200, "POST": 400}),
    "trainer/trainingrun/": (403, ALL_READ),
    "trainer/trainingrun/add/": (403, ALL_READ),
    "trainer/trainingrun/compare/": (403, 302),
    "trainer/trainingrun/network/": (403, READ),
    "trainer/trainingrun/features/empty/": (403, {"POST": 302}),
    "trainer/trainingrun/<path:object_id>/": (302, 302),
    "trainer/trainingrun/<path:object_id>/history/": (403, ALL_READ),
    "trainer/trainingrun/<path:object_id>/delete/": (403, 403),
    "trainer/trainingrun/<path:object_id>/change/": (403, ALL_READ),
    "trainer/trainingrun/<path:object_id>/state/": (403, ALL_READ),
    "trainer/trainingrun/<path:object_id>/epochs.csv": (403, ALL_READ),
    "trainer/trainingrun/<path:object_id>/run.json": (403, ALL_READ),
    "trainer/trainingrun/<path:object_id>/do/<slug:verb>/": (403, {"POST": 302}),
}


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        # The admin's own page of each app is one pattern that names them all.
        route = prefix + re.sub(r"^\^\(\?P<app_label>[a-z|]+\)/\$$", "<app_label>/", str(pattern.pattern))
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, route)
        else:
            yield route, pattern


ROUTES = dict(routes(get_resolver().url_patterns))


def address(route: str) -> str:
    """Of an object that is there."""
    models = {
        "modelversion": ModelVersion,
        "api/versions": ModelVersion,
        "batch": Batch,
        "dataset": Dataset,
        "trainingrun": TrainingRun,
        "api/runs": TrainingRun,
        "group": Group,
        "apikey": ApiKey,
    }
    model = next((model for name, model in models.items() if name in route), User)
    pk = str(model.objects.order_by("pk")[0].pk)
    for part in ("<path:object_id>", "<int:object_id>", "<int:pk>", "<id>", "<path:content_type_id>"):
        route = route.replace(part, pk)
    route = (
        route.replace("<slug:verb>", "stop")
        .replace("<slug:table>", "labels")
        .replace("<app_label>", "classifier")
        .replace("<uuid:key>", "8ad0ee2c-5a6d-4c05-b7a4-6d39a51a2b31")
    )
    route = route.replace("(?P<url>.*)$", "nothing/here/")
    route = route.replace("<slug:prefix>", ApiKey.objects.order_by("pk")[0].prefix)
    return "/" + route.replace("<slug:id>", "0123456789abcdef").replace("<int:photo>", "1").replace(
        "<int:position>", "1"
    ).replace("<slug:size>", "small")


@pytest.fixture
def people(db, active_version, settings) -> dict[str, Client]:
    """A client for each role: signed in, or with a key."""
    settings.LOGIN_RATE = settings.KEY_RATE = None
    keys.known.clear()
    Group.objects.create(name="group")
    dataset = Dataset.objects.create(name="dogs", number=1, status="ready")
    TrainingRun.objects.create(dataset=dataset, name="dogs", recipe=Recipe().as_dict())
    users = {
        "user": User.objects.create_user("user"),
        "staff": User.objects.create_user("staff", is_staff=True),
        "admin": User.objects.create_superuser("admin"),
    }
    Batch.objects.begin([active_version], by=users["admin"])
    clients = {"anonymous": Client(raise_request_exception=False)}
    for role, user in users.items():
        clients[role] = Client(raise_request_exception=False)
        clients[role].force_login(user)
    for role, scope in zip(KEYS, Scope.values, strict=True):
        _, secret = ApiKey.objects.issue(users["admin"], name=scope, scopes=[scope])
        clients[role] = Client(raise_request_exception=False, headers={"authorization": f"Bearer {secret}"})
    return clients


def ask(client: Client, method: str, path: str) -> int:
    return client.generic(method, path).status_code


def surprises(people: dict[str, Client], route: str, expected: dict[str, dict[str, int]]) -> list[str]:
    """What the address answers otherwise than expected, by role and method. Whatever is changed by it is undone."""
    path, found = address(route), []
    for role, by_method in expected.items():
        cookies = people[role].cookies.output(header="", sep=";")
        for method in METHODS:
            with transaction.atomic():
                status = ask(people[role], method, path)
                transaction.set_rollback(True)
            people[role].cookies = SimpleCookie(cookies)  # it may have been signed out
            if status != by_method[method]:
                found.append(f"{method} {path} as {role}: {status}, expected was {by_method[method]}")
    return found


def of_role(role: str, by_method: dict[str, Expected]) -> dict[str, int]:
    """The status for one role by every method."""
    statuses = {}
    for method in METHODS:
        status = by_method.get(method, by_method.get("*", REFUSED))
        statuses[method] = status if isinstance(status, int) else status.get(role, status["anonymous"])
    return statuses


def test_every_address_has_its_line():
    told = set(ACCESS) | {"admin/" + route for route in ADMIN}
    assert set(ROUTES) - told == set(), "say in ACCESS (or ADMIN) of this file who may do what at these addresses"
    assert told - set(ROUTES) == set(), "these addresses are gone: remove their lines"


def test_public_addresses_and_those_for_programs_answer_whom_they_should(people):
    found = []
    for route, by_method in ACCESS.items():
        found += surprises(people, route, {role: of_role(role, by_method) for role in ROLES})
    assert not found, "\n".join(found)


def test_the_admin_is_for_those_who_may(people):
    found = []
    for route, (staff, admin) in ADMIN.items():
        expected = dict.fromkeys(ROLES, dict.fromkeys(METHODS, LOGIN))  # a key opens no page, whatever its scope
        for role, allowed in (("staff", staff), ("admin", admin)):
            by_method = dict.fromkeys(METHODS, allowed) if isinstance(allowed, int) else allowed
            expected[role] = of_role(role, dict(by_method))
        found += surprises(people, "admin/" + route, expected)
    assert not found, "\n".join(found)


def test_what_only_signed_in_people_may_do_is_refused_with_401(client: Client, people, picture, settings):
    settings.ALLOW_ANONYMOUS_PREDICT = False
    for path in ("/api/predictImage", "/api/predictImage/"):
        response = client.post(path, picture, content_type="image/jpeg")
        assert (response.status_code, response.json()["code"]) == (401, "auth_required")
        assert response.headers["WWW-Authenticate"] == "Bearer, Session"
    assert client.post("/", {}).status_code == 401
    assert people["user"].post("/api/predictImage", picture, content_type="image/jpeg").status_code == 200


def test_staff_without_permission_activates_nothing(people, active_version):
    path = f"/admin/classifier/modelversion/{active_version.pk}/activate/"
    before = active_version.activated_at
    for role in ("anonymous", "user", "staff"):
        assert ask(people[role], "POST", path) in {302, 403}
    active_version.refresh_from_db()
    assert active_version.activated_at == before
    assert ask(people["admin"], "POST", path) == 302
    active_version.refresh_from_db()
    assert active_version.activated_at != before, "which is how it would have been seen"

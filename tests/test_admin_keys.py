"""Keys in the admin: the secret on one page and nowhere else, everybody's for a superuser, one's own for others."""

import re
from datetime import timedelta

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from breedsite.models import ApiKey
from breedsite.models.key import FORM

LIST = reverse("admin:breedsite_apikey_changelist")
ADD = reverse("admin:breedsite_apikey_add")
FIELDS = {"name": "robot", "scopes": ["predict", "read"], "expires_at": "", "rate": ""}


def issue(owner: User, name: str = "robot") -> tuple[ApiKey, str]:
    return ApiKey.objects.issue(owner, name=name, scopes=["predict"])


def page(key: ApiKey) -> str:
    return reverse("admin:breedsite_apikey_change", args=[key.pk])


def button(key: ApiKey) -> str:
    return reverse("admin:breedsite_apikey_revoke", args=[key.pk])


@pytest.fixture
def staff(client: Client, db):
    """A client signed in as staff with the named permissions, and the account."""

    def sign_in(*names: str) -> tuple[Client, User]:
        user = User.objects.create_user("staff", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user)
        return client, user

    return sign_in


def test_the_secret_is_on_the_page_after_creation_and_nowhere_else(admin_client: Client, admin_user, caplog):
    assert admin_client.get(ADD).status_code == 200
    response = admin_client.post(ADD, FIELDS | {"owner": admin_user.pk})
    assert response.status_code == 200 and "no-store" in response.headers["Cache-Control"]
    [secret] = re.findall(r'value="(breedsite_[^"]+)"', response.text)
    key = ApiKey.objects.authenticate(secret)
    assert FORM.fullmatch(secret) and key.owner == admin_user and key.scopes == ["predict", "read"]
    assert response.text.count(secret) == 1
    for path in (LIST, page(key), button(key), reverse("admin:index"), page(key).replace("change", "history")):
        shown = admin_client.get(path).text
        assert secret[19:] not in shown and key.digest not in shown, path
    kept = str(list(LogEntry.objects.values())) + caplog.text
    kept += str(admin_client.session.items()) + str(admin_client.cookies) + str(list(ApiKey.objects.values()))
    assert secret[19:] not in kept


def test_a_page_that_is_sent_twice_makes_one_key(admin_client: Client, admin_user):
    admin_client.post(ADD, FIELDS | {"owner": admin_user.pk})
    again = admin_client.post(ADD, FIELDS | {"owner": admin_user.pk})
    assert "There is a key of this name already" in again.text and ApiKey.objects.count() == 1


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"scopes": []}, "This field is required"),
        ({"scopes": ["all"]}, "not one of the available choices"),
        ({"rate": "often"}, "is not a rate: write 600/min"),
        ({"expires_at": "soon"}, "Enter a valid date"),
        ({"expires_at": "2020-01-01"}, "This day is over."),
        ({"name": ""}, "This field is required"),
    ],
)
def test_what_makes_no_key_is_said_beside_the_field(admin_client: Client, admin_user, fields, sentence):
    response = admin_client.post(ADD, FIELDS | {"owner": admin_user.pk} | fields)
    assert sentence in response.text and not ApiKey.objects.exists()


def test_an_end_and_a_rate_can_be_chosen(admin_client: Client, admin_user):
    fields = {"owner": admin_user.pk, "expires_at": "2999-12-31", "rate": "5/min"}
    assert "Until Dec. 31, 2999" in admin_client.post(ADD, FIELDS | fields).text
    key = ApiKey.objects.get()
    assert key.rate == "5/min" and key.expires_at.year == 2999


def test_the_list_shows_what_one_must_know(admin_client: Client, admin_user):
    key, _ = issue(admin_user)
    issue(User.objects.create_user("bob"), "old")[0].revoke()
    late = issue(admin_user, "late")[0]
    ApiKey.objects.filter(pk=late.pk).update(expires_at=timezone.now() - timedelta(days=1))
    text = admin_client.get(LIST).text
    for words in (key.prefix, "bob", "robot", "revoked", "expired", "live", "predict"):
        assert words in text
    assert "robot" in admin_client.get(LIST, {"q": key.prefix}).text


def test_a_button_revokes_after_asking_once(admin_client: Client, admin_user):
    key, _ = issue(admin_user)
    assert button(key) in admin_client.get(page(key)).text
    assert "it was never used" in admin_client.get(button(key)).text
    assert ApiKey.objects.live().exists(), "to look changes nothing"
    assert "is revoked: within five seconds" in admin_client.post(button(key), follow=True).text
    assert not ApiKey.objects.live().exists()
    assert button(key) not in admin_client.get(page(key)).text
    assert "It was revoked already" in admin_client.get(button(key)).text
    assert "Revoked." in str(list(LogEntry.objects.values_list("change_message", flat=True)))


def test_nothing_of_a_key_can_be_edited(admin_client: Client, admin_user):
    key, _ = issue(admin_user)
    before = ApiKey.objects.values().get()
    assert admin_client.post(page(key), FIELDS | {"owner": admin_user.pk, "name": "x"}).status_code == 403
    assert ApiKey.objects.values().get() == before
    shown = admin_client.get(page(key)).text
    assert 'name="_save"' not in shown and 'type="text"' not in shown.partition('id="apikey_form"')[2]


def test_staff_sees_makes_and_revokes_keys_of_its_own(staff, admin_user):
    client, user = staff("add_apikey", "revoke_apikey")
    others, _ = issue(admin_user, "of the admin")
    assert others.prefix not in client.get(LIST).text
    for path in (page(others), button(others)):
        assert client.get(path, follow=True).status_code in (200, 404)
        assert others.prefix not in client.get(path, follow=True).text
    assert client.post(button(others)).status_code == 404
    lent = client.post(ADD, FIELDS | {"owner": admin_user.pk, "rate": "9999/s"})
    assert "Select a valid choice" in lent.text and ApiKey.objects.count() == 1
    assert "breedsite_" in client.post(ADD, FIELDS | {"owner": user.pk, "rate": "9999/s"}).text
    own = ApiKey.objects.get(owner=user)
    assert own.rate == "", "nobody lets himself ask more often"
    assert client.post(button(own)).status_code == 302
    assert list(ApiKey.objects.live()) == [others]


def test_staff_without_permission_sees_and_does_nothing(staff, admin_user):
    client, user = staff()
    own, _ = issue(user)
    for path in (LIST, ADD, page(own), button(own)):
        assert client.get(path).status_code == client.post(path, FIELDS).status_code == 403
    assert ApiKey.objects.live().count() == 1


def test_who_may_see_alone_has_no_button(staff):
    client, user = staff("view_apikey")
    own, _ = issue(user)
    assert button(own) not in client.get(page(own)).text and client.post(button(own)).status_code == 403


def test_an_account_with_keys_can_be_deleted(admin_client: Client):
    user = User.objects.create_user("bob")
    issue(user)
    assert admin_client.post(reverse("admin:auth_user_delete", args=[user.pk]), {"post": "yes"}).status_code == 302
    assert not ApiKey.objects.exists()

"""The versions in the admin: the card, and the button that asks once."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from classifier.admin import lines
from classifier.models import ModelVersion
from tests.artifacts import make_artifact, make_spec

LIST = reverse("admin:classifier_modelversion_changelist")


def page(version: ModelVersion) -> str:
    return reverse("admin:classifier_modelversion_change", args=[version.pk])


def button(version: ModelVersion) -> str:
    return reverse("admin:classifier_modelversion_activate", args=[version.pk])


@pytest.fixture
def second(active_version, tmp_path) -> ModelVersion:
    return ModelVersion.objects.install(make_artifact(tmp_path / "second", seed=1))


@pytest.fixture
def staff(client, db):
    """A client signed in as staff with the named permissions."""

    def sign_in(*names: str):
        user = User.objects.create_user("staff", password="a-long-password", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=names))
        client.force_login(user)
        return client

    return sign_in


def test_the_list_says_which_one_is_active_and_how_good_each_is(admin_client, second):
    text = admin_client.get(LIST).text
    assert "tiny:1" in text and "tiny:2" in text
    assert "60.0 % of 50 (0.0 to 100.0)" in text
    assert text.count("icon-yes") == 1


def test_the_card_says_what_a_person_must_know(admin_client, active_version):
    text = admin_client.get(page(active_version)).text
    for words in (
        "60.0 % of 50",
        "50 photos of the test split",
        "the right one is among the first five: <strong>100.0 % of 50 (90.0 to 100.0)",
        "less than 30.0 %, it says that it is not sure",
        "off by 3.0 points on average on 50 validation photos (by 12.0 before",
        "Not for:",
        "anything else",
        "random weights, made by the tests",
        active_version.digest,
        "mobilenet_v2",
    ):
        assert words in text


def test_the_label_that_is_wrong_most_often_comes_first(admin_client, active_version):
    text = admin_client.get(page(active_version)).text
    names = ["Pug", "Papillon", "Chow", "Border Collie", "Beagle"]
    places = [text.index(f'<th scope="row">{name}</th>') for name in names]
    assert places == sorted(places)


def test_a_version_that_was_never_measured_says_so(admin_client, second, tmp_path):
    version = ModelVersion.objects.install(make_artifact(tmp_path / "raw", seed=2, quality=None))
    assert "It was not measured." in admin_client.get(page(version)).text
    assert "not measured" in admin_client.get(LIST).text


def test_what_a_card_says_is_shown_as_text(admin_client, active_version, tmp_path):
    evil = "<script>alert(1)</script>"
    origin = {**make_spec().origin, "data": evil, "not_for": [evil], "command": evil, "intended_use": evil}
    labels = ("a", "b", evil)
    version = ModelVersion.objects.install(make_artifact(tmp_path / "evil", labels=labels, origin=origin))
    text = admin_client.get(page(version)).text
    assert "<script>alert" not in text
    assert text.count("&lt;script&gt;alert(1)") >= 4


def test_a_card_of_another_format_is_said_and_no_error(admin_client, active_version):
    active_version.spec["format"] = 99
    active_version.save()
    response = admin_client.get(page(active_version))
    assert response.status_code == 200
    assert "This program cannot read its card: spec.json: format must be 1" in response.text


def test_the_button_asks_once_and_then_activates(admin_client, active_version, second):
    assert f'href="{button(second)}"' in admin_client.get(page(second)).text
    asked = admin_client.get(button(second)).text
    assert "Activate tiny:2?" in asked and "takes the place of <strong>tiny:1</strong>" in asked
    assert ModelVersion.objects.active() == active_version
    done = admin_client.post(button(second), follow=True)
    assert "Version tiny:2 is active" in done.text
    assert ModelVersion.objects.active() == second
    assert f'href="{button(second)}"' not in done.text


def test_a_broken_version_is_not_activated_and_its_page_says_why(admin_client, active_version, second):
    (second.path / "model.onnx").write_bytes(b"")
    text = admin_client.post(button(second), follow=True).text
    assert "Version tiny:2 was not activated: model.onnx has 0 bytes" in text
    assert "It could not be used: model.onnx has 0 bytes" in text
    assert ModelVersion.objects.active() == active_version
    assert "model.onnx has 0 bytes" in admin_client.get(LIST).text


def test_nothing_can_be_added_changed_or_deleted(admin_client, active_version):
    assert admin_client.get(reverse("admin:classifier_modelversion_add")).status_code == 403
    assert admin_client.post(page(active_version), {"name": "other"}).status_code == 403
    delete = reverse("admin:classifier_modelversion_delete", args=[active_version.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    active_version.refresh_from_db()
    assert active_version.name == "tiny"


@pytest.mark.parametrize(
    ("permissions", "sees", "activates"),
    [((), 403, 403), (("view_modelversion",), 200, 403), (("activate_modelversion",), 200, 302)],
)
def test_activating_needs_its_own_permission(staff, second, permissions, sees, activates):
    client = staff(*permissions)
    assert client.get(page(second)).status_code == sees
    assert client.post(button(second)).status_code == activates
    assert second.is_active is False
    assert (ModelVersion.objects.active() == second) is (activates == 302)


def test_a_stranger_is_sent_to_the_sign_in_page(client, second):
    assert client.post(button(second)).status_code == 302
    assert "/login/" in client.post(button(second)).url
    assert ModelVersion.objects.active() != second


def test_activating_without_the_token_of_the_page_is_refused(active_version, second, admin_user):
    from django.test import Client

    client = Client(enforce_csrf_checks=True)
    client.force_login(admin_user)
    assert client.post(button(second)).status_code == 403
    assert ModelVersion.objects.active() == active_version


@pytest.mark.parametrize("number", ["99999", "x", "_2E_2E", "1/2"])
def test_a_version_that_does_not_exist_is_not_found(admin_client, active_version, number):
    response = admin_client.post(f"{LIST}{number}/activate/")
    assert response.status_code == 404


def test_a_record_with_parts_is_shown_line_by_line():
    assert lines({"image_size": 160, "optimizer": "adamw"}) == [("image size", "160"), ("optimizer", "adamw")]
    assert lines([{"number": 1, "loss": 0.5}, "done"]) == [("1", "number 1, loss 0.5"), ("2", "done")]

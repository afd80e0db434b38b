"""A program that asks the API, and what it is refused with."""

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from breedsite import keys
from breedsite.models import ApiKey


def key_of(*scopes: str, may: tuple[str, ...] | None = None, owner: str = "ann") -> str:
    """A key with these scopes (all, where none is named); its owner may what `may` names, or everything."""
    keys.known.clear()
    user = User.objects.filter(username=owner).first()
    if user is None:
        user = User.objects.create_user(owner, is_superuser=may is None)
        user.user_permissions.set(Permission.objects.filter(codename__in=may or ()))
    name = f"robot {ApiKey.objects.count()}"
    return ApiKey.objects.issue(user, name=name, scopes=list(scopes or ("admin",)))[1]


def robot(*scopes: str, **owner: Any) -> Client:
    """A program with such a key."""
    return Client(headers={"authorization": f"Bearer {key_of(*scopes, **owner)}"})


def refused(response: Any) -> tuple[int, str, str]:
    """Status, code and sentence."""
    assert response["Content-Type"] == "application/problem+json", response.content
    problem = response.json()
    assert problem["status"] == response.status_code
    return response.status_code, problem["code"], problem["detail"]

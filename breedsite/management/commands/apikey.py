"""manage.py apikey create|list|revoke: keys for programs, from the command line."""

import argparse
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import ValidationError
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from breedsite.models import ApiKey
from breedsite.models.key import Scope


class Command(BaseCommand):
    help = "Makes, lists and revokes the keys with which programs ask."

    def add_arguments(self, parser: CommandParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create|list|revoke")
        create = verbs.add_parser("create", help="make a key and print its secret, this once")
        create.add_argument("owner", help="the account that it acts for")
        create.add_argument("name", help="what it is for")
        create.add_argument("--scope", action="append", required=True, choices=Scope.values, help="may be repeated")
        create.add_argument("--days", type=days, help="until it expires; never without it")
        create.add_argument("--rate", default="", help="calls, such as 600/min; KEY_RATE without it")
        listed = verbs.add_parser("list", help="show the keys, without their secrets")
        listed.add_argument("owner", nargs="?", help="of this account alone")
        revoke = verbs.add_parser("revoke", help="end a key; every process knows it within five seconds")
        revoke.add_argument("prefix", help="the eight characters after breedsite_")

    def handle(self, *args: Any, verb: str, **options: Any) -> None:
        verbs: dict[str, Callable[..., None]] = {"create": self.create, "list": self.show, "revoke": self.revoke}
        verbs[verb](**options)

    def create(
        self, *, owner: str, name: str, scope: list[str], days: timedelta | None, rate: str, **options: Any
    ) -> None:
        expires_at = None if days is None else timezone.now() + days
        try:
            key, secret = ApiKey.objects.issue(
                account(owner), name=name, scopes=scope, expires_at=expires_at, rate=rate
            )
        except ValidationError as error:
            raise CommandError(" ".join(error.messages)) from error
        self.stderr.write(f"{described(key)}. Its secret is not shown again and stored only as a hash:")
        self.stdout.write(secret)

    def show(self, *, owner: str | None, **options: Any) -> None:
        keys = ApiKey.objects.select_related("owner")
        for key in keys if owner is None else keys.filter(owner=account(owner)):
            used = f"{key.last_used_at:%Y-%m-%d %H:%M}" if key.last_used_at else "never"
            self.stdout.write(f"{described(key)}; last used: {used}")

    def revoke(self, *, prefix: str, **options: Any) -> None:
        key = ApiKey.objects.filter(prefix=prefix.removeprefix("breedsite_")[:8]).first()
        if key is None:
            known = ", ".join(ApiKey.objects.live().values_list("prefix", flat=True)) or "none"
            raise CommandError(f"There is no key {prefix!r}. Those that may be used: {known}.")
        key.revoke()
        self.stdout.write(f"{described(key)}.")


def account(name: str) -> Any:
    users = get_user_model()
    try:
        return users.objects.get_by_natural_key(name)
    except users.DoesNotExist as error:
        raise CommandError(f"There is no account {name!r}.") from error


def days(text: str) -> timedelta:
    """From now on; 10 years at most, for a key that nobody will remember is better one without an end."""
    if not re.fullmatch("[1-9][0-9]{0,3}", text) or int(text) > 3650:
        raise argparse.ArgumentTypeError("write a whole number of days from 1 to 3650")
    return timedelta(days=int(text))


def described(key: ApiKey) -> str:
    word = "expired" if key.state == "expired" else "expires"
    end = f"{word} {key.expires_at:%Y-%m-%d}" if key.expires_at else "never expires"
    end = "revoked" if key.state == "revoked" else end
    return f"{key.prefix} {key.name!r} of {key.owner.get_username()}: {', '.join(key.scopes)}; {end}"

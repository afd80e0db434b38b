"""Settings from the environment; a wrong value stops the start with a sentence that names the variable."""

import math
import os
import re
import warnings
from typing import Any
from urllib.parse import urlsplit

import environ
from django.core.exceptions import ImproperlyConfigured

TRUE = ("1", "true", "yes", "on")
FALSE = ("0", "false", "no", "off")
DATABASES = ("django.db.backends.sqlite3", "django.db.backends.postgresql")  # those that are tested, with drivers
BACKENDS = {"file": "breedsite.backends.Folder", "s3": "breedsite.bucket.Bucket"}  # kinds of STORAGE_URL
NUMBERS = {int: "a whole number, zero or more", float: "a number, zero or more"}


class Environment(environ.Env):
    """`env.int("PORT", default=8000)`, `.float`, `.bool`, `.str`, `.list`, `.db_url`, `.address`; stricter than its
    parent, which reads `12 abc` as 12, any unknown word as false and `$NAME` as another variable. An empty variable is
    one that is not set.
    """

    def get_value(self, var: str, cast: Any = None, default: Any = None, parse_default: bool = False) -> Any:
        value = os.environ.get(var, "")
        text = value.strip()
        if not text:
            return default
        if cast in NUMBERS:
            try:
                number = cast(text)
            except ValueError:
                number = math.nan
            if not 0 <= number < math.inf:
                raise ImproperlyConfigured(f"{var} is set to {text!r}: write {NUMBERS[cast]}.")
            return number
        if cast is bool:
            if text.lower() not in TRUE + FALSE:
                raise ImproperlyConfigured(f"{var} is set to {text!r}: write true or false.")
            return text.lower() in TRUE
        if cast is list:
            return [item.strip() for item in text.split(",") if item.strip()]
        return value

    def db_url(self, var: str, **kwargs: Any) -> dict[str, Any]:
        with warnings.catch_warnings(action="ignore"):  # its warning about an unknown kind shows the password
            try:
                found: dict[str, Any] = super().db_url(var, **kwargs)
            except ValueError:  # a port that is no number
                found = {}
        if found.get("ENGINE") not in DATABASES:
            raise ImproperlyConfigured(
                f"{var} is not the address of a database: write something like postgres://name:password@host:5432/breeds."
            )
        return found

    def matching(self, var: str, *, default: str, pattern: str, hint: str) -> str:
        """One of the words that the pattern describes; the hint names them."""
        text: str = self.str(var, default=default)
        if not re.fullmatch(pattern, text):
            raise ImproperlyConfigured(f"{var} is set to {text!r}: write {hint}.")
        return text

    def address(self, var: str, *, default: str, kinds: tuple[str, ...]) -> str:
        """The address of a server, `kind://...`; it may hold a password, so the sentence does not repeat it."""
        text = self.str(var, default=default)
        try:
            sound = urlsplit(text).scheme in kinds and urlsplit(text).port != 0
        except ValueError:  # a port that is no number, brackets that do not close
            sound = False
        if not sound:
            raise ImproperlyConfigured(f"{var} is not the address of a server: begin it with {' or '.join(kinds)}://.")
        return text

    def storage(self, var: str) -> str:
        """The address of a storage that hosts share; empty where there is none. It holds no password."""
        text = self.str(var, default="").strip().rstrip("/")
        try:
            parts = urlsplit(text)
            strange = parts.username or parts.password or parts.query or parts.fragment or parts.port
        except ValueError:
            strange = True
        sound = not strange and (parts.netloc if parts.scheme in BACKENDS.keys() - {"file"} else parts.path)
        if text and (not sound or parts.scheme not in BACKENDS or (parts.scheme == "file" and parts.netloc)):
            raise ImproperlyConfigured(
                f"{var} is not the address of a storage: write file:///folder for one that every host mounts, or "
                "s3://bucket/prefix. Keys, and the address of a server that is not Amazon's, belong into boto's own "
                "variables, such as AWS_ACCESS_KEY_ID and AWS_ENDPOINT_URL_S3."
            )
        return text


def shared_storage(url: str) -> dict[str, Any]:
    """Its entry in Django's STORAGES."""
    return {"BACKEND": BACKENDS[urlsplit(url).scheme], "OPTIONS": {"url": url}}

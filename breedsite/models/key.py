"""Keys for programs: whose they are, what they may do, for how long and how often.

The secret of a key is shown once and stored nowhere, only its sha256. A password needs a slow hash because people
choose it; a secret of 256 random bits is guessed from no hash, so a fast one is right, and every request needs one.
"""

from __future__ import annotations

import hashlib
import logging
import re
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta
from hmac import compare_digest
from typing import TYPE_CHECKING

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import Error, IntegrityError, models, transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.functional import cached_property

from breedsite.rates import Rate

if TYPE_CHECKING:
    from django.contrib.auth.models import User

log = logging.getLogger(__name__)

FORM = re.compile(r"breedsite_(?P<prefix>[0-9a-f]{8})_[A-Za-z0-9_-]{43}")
NOBODY = "0" * 64  # the digest of no secret: an unknown prefix takes as long as a wrong secret
USE_STEP = timedelta(minutes=1)  # how exactly the last use is known: to write each would cost each request a write


class Scope(models.TextChoices):
    PREDICT = "predict", "predict: ask what photos show"
    READ = "read", "read: look at datasets, runs and versions"
    TRAIN = "train", "train: make datasets and runs, and read"
    ADMIN = "admin", "admin: everything that its owner may do"


INCLUDED: dict[str, frozenset[str]] = {
    Scope.PREDICT: frozenset({Scope.PREDICT}),
    Scope.READ: frozenset({Scope.READ}),
    Scope.TRAIN: frozenset({Scope.TRAIN, Scope.READ}),
    Scope.ADMIN: frozenset(Scope),
}


class KeyRefused(ValueError):
    """A secret that lets nobody in; `str()` of it is a sentence for who sent it."""


def digest(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


NEEDS_SCOPES = f"A key needs one or more of {', '.join(Scope.values)}."


def check_scopes(scopes: object) -> None:
    if not isinstance(scopes, list) or not all(scope in Scope.values for scope in scopes):
        raise ValidationError(NEEDS_SCOPES)


def check_rate(text: str) -> None:
    try:
        Rate.parse(text)
    except ValueError as error:
        raise ValidationError(f"{error}.") from error


class ApiKeyQuerySet(models.QuerySet["ApiKey"]):
    def issue(
        self,
        owner: User,
        *,
        name: str,
        scopes: Iterable[str],
        expires_at: datetime | None = None,
        rate: str = "",
    ) -> tuple[ApiKey, str]:
        """A new key and its secret, which nobody will see again. Raises ValidationError with sentences."""
        key = self.model(owner=owner, name=name, scopes=list(scopes), expires_at=expires_at, rate=rate.strip())
        return key, key.issue()

    def live(self) -> ApiKeyQuerySet:
        """Those that were neither revoked nor have expired."""
        return self.filter(Q(expires_at=None) | Q(expires_at__gt=timezone.now()), revoked_at=None)

    def authenticate(self, secret: str) -> ApiKey:
        """The key of this secret, with its owner; raises KeyRefused with the reason. Only who knows the whole secret
        hears more than that it is not known."""
        found = FORM.fullmatch(secret)
        key = self.select_related("owner").filter(prefix=found["prefix"]).first() if found else None
        if not compare_digest(digest(secret), key.digest if key else NOBODY) or key is None:
            raise KeyRefused("This key is not known here.")
        if key.revoked_at is not None:
            raise KeyRefused(f"This key was revoked on {key.revoked_at:%Y-%m-%d}.")
        if key.expires_at is not None and key.expires_at <= timezone.now():
            raise KeyRefused(f"This key expired on {key.expires_at:%Y-%m-%d}: ask for a new one.")
        if not key.owner.is_active:
            raise KeyRefused("The account of this key is closed.")
        return key


class ApiKey(models.Model):
    """Lets a program do a part of what its owner may do."""

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="api_keys")
    name = models.CharField(max_length=64, help_text="What it is for.")
    prefix = models.CharField(max_length=8, unique=True, editable=False)  # of the secret: names the key in lists
    digest = models.CharField(max_length=64, editable=False)  # sha256 of the whole secret
    scopes = models.JSONField(validators=[check_scopes], error_messages={"blank": NEEDS_SCOPES})
    created_at = models.DateTimeField("created", default=timezone.now, editable=False)
    expires_at = models.DateTimeField("expires", null=True, blank=True, help_text="Empty for never.")
    last_used_at = models.DateTimeField("last used", null=True, editable=False)
    rate = models.CharField(
        max_length=32,
        blank=True,
        validators=[check_rate],
        help_text="Calls of this key, such as 600/min or 10/s; empty for the setting KEY_RATE.",
    )
    revoked_at = models.DateTimeField("revoked", null=True, editable=False)

    objects = ApiKeyQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "-pk"]
        default_permissions = ("add", "view", "delete")
        permissions = [("revoke_apikey", "Can revoke a key")]
        verbose_name = "API key"
        constraints = [
            # A page that is sent twice makes one key.
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(revoked_at=None),
                name="one_key_a_name",
                violation_error_message="There is a key of this name already: revoke it, or choose another name.",
            )
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.prefix}…)"

    def issue(self) -> str:
        """Store this key for the first time and answer its secret. Raises ValidationError."""
        assert self._state.adding, "a key has one secret for all its life"
        self.prefix = secrets.token_hex(4)
        secret = f"breedsite_{self.prefix}_{secrets.token_urlsafe(32)}"
        self.digest = digest(secret)
        self.full_clean()
        self.scopes = [scope for scope in Scope.values if scope in self.scopes]  # each once, in one order
        try:
            with transaction.atomic():
                self.save()
        except IntegrityError:
            self.full_clean()  # the same was asked for twice at once: the other was quicker
            raise
        return secret

    def revoke(self) -> None:
        """From now on it lets nobody in; the first time counts."""
        ApiKey.objects.filter(pk=self.pk, revoked_at=None).update(revoked_at=timezone.now())
        self.refresh_from_db()

    def used(self) -> None:
        """Note the time of use, once a minute at most. Who asks is answered even where that cannot be written."""
        now = timezone.now()
        if self.last_used_at is not None and now - self.last_used_at < USE_STEP:
            return
        old = Q(last_used_at=None) | Q(last_used_at__lte=now - USE_STEP)
        try:
            ApiKey.objects.filter(old, pk=self.pk).update(last_used_at=now)
        except Error as error:
            log.warning("The use of the key %s could not be noted: %s", self.prefix, error)
        self.last_used_at = now

    def allows(self, scope: str) -> bool:
        """Whether this key, leaving its owner aside, may do what needs the scope."""
        return any(scope in INCLUDED[own] for own in self.scopes if own in INCLUDED)

    @cached_property
    def allowed_rate(self) -> Rate | None:
        return Rate.parse(self.rate) if self.rate else settings.KEY_RATE

    @property
    def state(self) -> str:
        if self.revoked_at is not None:
            return "revoked"
        return "expired" if self.expires_at is not None and self.expires_at <= timezone.now() else "live"

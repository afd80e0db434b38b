"""What was answered to requests that a program may send twice, for it cannot know whether the first arrived."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.utils import timezone

from classifier.problems import Refused

KEPT = timedelta(hours=24)
REUSED = "This Idempotency-Key was sent with another request: take a new one."
AT_WORK = "The first request with this key is still being answered: ask again in a moment."


class ReceiptQuerySet(models.QuerySet["Receipt"]):
    def begin(self, *, caller: str, request: str, key: str, fingerprint: str) -> Receipt:
        """Ours to answer, or answered before (`answered`). Raises Refused for a key that was used for something else,
        and for one whose first request is still being answered.

        Who does not finish within the lease is taken for dead: another may answer then, and he himself no longer.
        """
        self.filter(created_at__lt=timezone.now() - KEPT).delete()
        row = {"caller": caller, "request": request, "key": key}
        for _ in range(100):  # each failure is the success of another
            with suppress(IntegrityError), transaction.atomic():
                return self.create(**row, fingerprint=fingerprint)
            first = self.filter(**row).first()
            if first is None:  # it was refused meanwhile
                continue
            if first.fingerprint != fingerprint:
                raise Refused("idempotency_key_reused", REUSED)
            if first.answered or first.take_over():
                return first
            break
        raise Refused("request_in_progress", AT_WORK, retry_after_seconds=1)


class Receipt(models.Model):
    """One request, by the key that its sender made up for it."""

    caller = models.CharField(max_length=64)
    request = models.CharField(max_length=255)  # method and path
    key = models.CharField(max_length=255)
    fingerprint = models.CharField(max_length=64)  # sha256 of what was asked for
    token = models.UUIDField(default=uuid.uuid4)  # of who answers
    created_at = models.DateTimeField(default=timezone.now, db_index=True)
    begun_at = models.DateTimeField(default=timezone.now)
    status = models.PositiveSmallIntegerField(null=True)  # HTTP; none until it is answered
    body = models.TextField(blank=True)  # JSON
    headers = models.JSONField(default=dict)

    objects = ReceiptQuerySet.as_manager()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["caller", "request", "key"], name="one_answer_a_request")]

    def __str__(self) -> str:
        return f"{self.request} {self.key}"

    @property
    def answered(self) -> bool:
        return self.status is not None

    def take_over(self) -> bool:
        """Answer in the place of who died; False where he may be alive, or another was quicker."""
        now, mine = timezone.now(), uuid.uuid4()
        if now - self.begun_at < timedelta(seconds=settings.LEASE_SECONDS):
            return False
        won = Receipt.objects.filter(pk=self.pk, token=self.token, status=None).update(token=mine, begun_at=now)
        self.token = mine
        return bool(won)

    def finish(self, status: int, body: str, headers: dict[str, str]) -> bool:
        """Keep the answer. False when another answers in our place: then nothing of what we did may stay."""
        changes: dict[str, Any] = {"status": status, "body": body, "headers": headers}
        return bool(Receipt.objects.filter(pk=self.pk, token=self.token, status=None).update(**changes))

    def give_back(self) -> None:
        """Nothing came of it: the same key may be sent again."""
        Receipt.objects.filter(pk=self.pk, token=self.token, status=None).delete()

    @property
    def data(self) -> Any:
        return json.loads(self.body)

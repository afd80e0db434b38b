"""Who did what through the API, where the admin keeps what people did there: the history of a row."""

from django.contrib.admin.models import ADDITION, CHANGE, DELETION, LogEntry
from django.db.models import Model
from rest_framework.request import Request

from breedsite.access import key_of

__all__ = ["ADDITION", "CHANGE", "DELETION", "note"]


def note(request: Request, row: Model, flag: int, sentence: str) -> None:
    key = key_of(request)
    by = f" With the key {key.name}." if key else " Through the API."
    assert request.user.pk is not None
    LogEntry.objects.log_actions(int(request.user.pk), [row], flag, sentence + by, single_object=True)

"""Which devices are taken: a training on several of them must share none with another."""

from collections.abc import Sequence
from uuid import UUID

from django.db import models
from django.db.models import F, Q


class Seat(models.Model):
    """A device at which a run is trained. A training on several devices has a seat at each, so that none of them is
    given to two, whatever the settings of the workers of a machine.

    It is held for as long as its run is, by the same token: nobody has to give it back.
    """

    device = models.CharField(max_length=100, unique=True, help_text="a machine, and what torch calls the device")
    run = models.ForeignKey("trainer.TrainingRun", models.CASCADE, related_name="+")
    token = models.UUIDField()

    def __str__(self) -> str:
        return self.device

    @classmethod
    def take(cls, place: str, *, run: int, token: UUID, held: Sequence[str]) -> None:
        """Every device of a place such as "machine cuda:0+cuda:1"; `held` are the statuses of runs that somebody works
        on. Raises IntegrityError where one is taken."""
        machine, _, names = place.rpartition(" ")
        wanted = sorted({f"{machine} {name}".strip() for name in names.split("+")})
        taken = Q(run__status__in=held, run__token=F("token"))
        cls.objects.filter(device__in=wanted).exclude(taken).delete()
        for device in wanted:
            cls.objects.create(device=device, run_id=run, token=token)

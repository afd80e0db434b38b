"""What is known of each epoch of a run."""

from __future__ import annotations

from django.db import models


class EpochMetricQuerySet(models.QuerySet["EpochMetric"]):
    def last_of(self, field: str) -> dict[str, float]:
        """The number that the last epoch has of which it is known, by the id of its run."""
        known = self.exclude(**{field: None}).order_by("number")
        return {str(run): number for run, number in known.values_list("run", field)}


class EpochMetric(models.Model):
    """What one epoch of a run brought. Losses are means over photos; null where they were not finite."""

    run = models.ForeignKey("trainer.TrainingRun", models.CASCADE, related_name="epochs")
    number = models.PositiveIntegerField()
    loss = models.FloatField(null=True)
    accuracy = models.FloatField(null=True)
    validation_loss = models.FloatField(null=True)
    validation_top1 = models.FloatField(null=True)
    learning_rate = models.FloatField()
    skipped_steps = models.PositiveIntegerField(default=0)
    seconds = models.FloatField()
    images_per_second = models.FloatField()
    checkpoint_seconds = models.FloatField(null=True, help_text="to write it; unknown where it was told a second time")
    trail = models.JSONField(default=list, help_text="[step, learning rate, loss] of some of its steps")

    objects = EpochMetricQuerySet.as_manager()

    class Meta:
        ordering = ["run", "number"]
        constraints = [models.UniqueConstraint(fields=["run", "number"], name="one_row_an_epoch")]

    def __str__(self) -> str:
        return f"epoch {self.number} of {self.run}"

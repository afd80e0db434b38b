"""manage.py train --dataset NAME --preset PRESET --set field=value: train in the foreground, as the worker would."""

from pathlib import Path
from typing import Any

from trainer.management.foreground import Foreground, left
from trainer.models import TrainingRun


class Command(Foreground):
    help = (
        "Trains a network on a dataset, here and now; Ctrl-C puts the run back into the queue, where a worker goes on."
    )

    def tell(self, event: dict[str, Any]) -> None:
        """A line an epoch; on a terminal also the step under way."""
        super().tell(event)
        if event["event"] == "epoch":
            self.erase()
            self.stdout.write(
                f"epoch {event['number']}: loss {figure(event['loss'])}, "
                f"validation loss {figure(event['validation_loss'])}, "
                f"top-1 {event['validation_top1']:.4f}, {event['images_per_second']:.0f} images/s"
            )
        elif event["event"] == "step":
            self.write_over(
                f"epoch {event['epoch']} of {event['epochs']}, step {event['number']} of {event['steps']}, "
                f"{event['images_per_second']:.0f} images/s" + left(event["remaining_seconds"])
            )

    def close(self, run: TrainingRun) -> None:
        """Which version came of it, and how good it is."""
        if run.version is None:
            self.stdout.write(f"{run} is {run.status}.")
            return
        quality = run.version.card.quality
        measured = ""
        if quality:
            top1 = quality.top1
            measured = f": top-1 {top1.value:.4f} ({top1.low:.4f} to {top1.high:.4f}) on {quality.n} test photos"
        self.stdout.write(f"{run} is {run.status}; version {run.version} is a candidate{measured}.")
        self.stdout.write(f"It lies in {Path(run.version.path)}")


def figure(value: float | None) -> str:
    """Null stands for what was not finite."""
    return "not finite" if value is None else f"{value:.4f}"

"""manage.py findrate --dataset NAME --preset PRESET --set field=value: the learning-rate range test of a recipe."""

from typing import Any

from trainer.management.foreground import Foreground
from trainer.models import TrainingRun
from trainer.models.jobfile import command
from trainer.recipe import Recipe

EVERY = 10  # steps; each has its line


class Command(Foreground):
    help = (
        "Lets the learning rate of a recipe grow from step to step, tells the loss at each, and suggests one. It takes "
        "100 steps at most; nothing is trained."
    )
    KIND = TrainingRun.Kind.RANGE_TEST

    def tell(self, event: dict[str, Any]) -> None:
        super().tell(event)
        if event["event"] == "point" and event["number"] % EVERY == 0:
            self.erase()
            loss = "not finite" if event["loss"] is None else f"{event['loss']:.4f}"
            self.stdout.write(f"step {event['number']}: learning rate {event['rate']:.2e}, loss {loss}")

    def close(self, run: TrainingRun) -> None:
        """The suggestion, and the command that trains with it."""
        if "sentence" not in run.found:
            self.stdout.write(f"{run} is {run.status}.")
            return
        for name, rate in run.suggestion.items():
            self.stdout.write(f"Suggested {name}: {rate:g}")
        self.stdout.write(run.found["sentence"])
        if run.suggestion:
            run.kind, run.recipe = run.Kind.TRAINING, Recipe.from_dict(run.recipe | run.suggestion).as_dict()
            self.stdout.write(command(run))

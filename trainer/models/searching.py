"""One claim of a range test: its process sweeps the learning rate, the row keeps the curve and what it suggests."""

from typing import Any

from trainer.models.attempt import Attempt


class Search(Attempt):
    """What one claim of a range test does. It keeps nothing on the disk: whoever takes it up begins anew."""

    points: list[list[float | None]]  # [rate, loss, smoothed loss] of each step

    def left_behind(self) -> None:
        self.points = []

    def hear(self, event: dict[str, Any]) -> None:
        super().hear(event)
        if event["event"] == "point":
            self.points.append([event["rate"], event["loss"], None])
            done, total = event["number"], self.begun["steps"]
            found = {"points": self.points.copy()}
            self.heart.live = {"live": {}, "found": found, "progress_done": done, "progress_total": total}

    def done(self) -> None:
        found = {name: value for name, value in self.last.items() if name != "event"}
        ended = {"found": found, "progress_done": self.begun["steps"], "progress_total": self.begun["steps"]}
        self.ours(lambda: self.run.finish(self.run.Status.FINISHED, **ended))
        self.run.remove_checkpoints()

    def stopped(self) -> None:
        """What was swept so far stays to be looked at; it suggests nothing."""
        self.ours(lambda: self.run.finish(self.run.Status.STOPPED, found={"points": self.points}))
        self.run.remove_checkpoints()

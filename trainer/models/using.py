"""What a training uses of its machine while it runs, as rows for small curves."""

from datetime import datetime
from itertools import pairwise
from typing import Any

from django.utils import timezone

MOST = 240  # rows that are kept; beyond them every second one goes
LEAST_SECONDS = 1.0  # between two rows


class Use:
    """Rows of [seconds since the run began, bytes of memory, processors, bytes of the GPU's memory, its share at work].

    The last two are null where it trains without a GPU. A later attempt goes on with the rows of the one before.
    """

    def __init__(self, rows: list[list[Any]], began: datetime) -> None:
        self.rows = rows
        self.began = began
        gaps = sorted(after[0] - before[0] for before, after in pairwise(rows))
        self.apart = max(LEAST_SECONDS, gaps[len(gaps) // 2] if gaps else 0.0)
        self.told: tuple[float, float] | None = None  # when the last row was told, and the processor time until then
        self.processors: float | None = None

    def add(self, step: dict[str, Any]) -> None:
        """The event `step` of a training process."""
        now = (timezone.now() - self.began).total_seconds()
        if self.told is None:
            self.told = (now, step["cpu_seconds"])
            return
        before, used = self.told
        if now - before < self.apart:
            return
        self.told = (now, step["cpu_seconds"])
        self.processors = (step["cpu_seconds"] - used) / (now - before)
        memory, share = step.get("gpu_memory_bytes"), step.get("gpu_share")
        self.rows.append([round(now, 1), step["memory_bytes"], round(self.processors, 2), memory, share])
        if len(self.rows) > MOST:
            self.rows = self.rows[::2]
            self.apart *= 2

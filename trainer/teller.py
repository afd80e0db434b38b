"""How a training process tells what happens, and hears that it should leave."""

import json
import sys
import time
from types import FrameType
from typing import Any

from trainer.figures import finite

EVENT_SECONDS = 0.5  # between two of the many that are told only now and then
LEFT = 75  # exit code that asks to be started again (EX_TEMPFAIL)


class Teller:
    """Writes the events; knows whether the end was asked for."""

    def __init__(self) -> None:
        self.leaving = False
        self.in_loop = False
        self.needs_bytes = 1  # of free space, to go on
        self.last = 0.0  # monotonic seconds; of a step or picture that was told

    def tell(self, event: str, **facts: Any) -> None:
        """One line; infinities and NaN, which are no JSON, become null."""
        sys.stdout.write(json.dumps({"event": event, **finite(facts)}, allow_nan=False) + "\n")
        sys.stdout.flush()

    def due(self, *, at_once: bool = False) -> bool:
        """Whether one of many events should be told: a few a second are enough for whoever watches."""
        now = time.monotonic()
        if not at_once and now - self.last < EVENT_SECONDS:
            return False
        self.last = now
        return True

    def leave(self, _number: int, _frame: FrameType | None) -> None:
        """In the loop the batch under way comes to its end; elsewhere there is nothing to save."""
        self.leaving = True
        if not self.in_loop:
            sys.exit(LEFT)

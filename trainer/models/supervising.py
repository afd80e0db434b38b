"""Who trains: a claimed run is held by its token, and whoever supervises it says so every second.

Who has lost the row ends the process and publishes nothing.
"""

import logging
import os
import signal
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from django.conf import settings

from breedsite.holding import Ask, Heart, Lost
from breedsite.storage import WAIT_SECONDS, Cut, StorageAway
from classifier.artifact import ArtifactError
from classifier.devices import grouped, places
from classifier.logs import about
from classifier.sources.listing import SourceError
from trainer.models.attempt import Attempt
from trainer.models.carrying import at_hand
from trainer.models.run import TrainingRun, TrainingRunQuerySet
from trainer.models.searching import Search

log = logging.getLogger(__name__)


def devices() -> list[str]:
    """The places of this machine where a training can run: its name, then what torch calls the device, or the devices
    on which it trains together. Several processes share a processor where that was asked for, not for want of a GPU."""
    found = places(settings.TORCH_DEVICE)
    spare = found == ("cpu",) and settings.TORCH_DEVICE != "cpu"
    groups = grouped(found, "1" if spare else settings.DEVICES_PER_RUN)
    return [f"{os.uname().nodename} {'+'.join(group)}" for group in groups]


def device() -> str:
    """The first of them."""
    return devices()[0]


def claim(runs: TrainingRunQuerySet | None = None) -> TrainingRun | None:
    """The oldest of the runs that is due, on the first device of this machine that is free."""
    waiting = TrainingRun.objects.all() if runs is None else runs
    claimed = (waiting.claim_next(device=place) for place in devices())
    return next((run for run in claimed if run is not None), None)


def goes_on(run: TrainingRun, heart: Heart, ask: Callable[[], bool]) -> bool:
    """Whether what a run needs is still to be fetched: who is to stop it with nothing to keep needs nothing."""
    return not (ask() or heart.lost or (heart.stop_requested and not run.epochs.exists()))


def tell(listeners: Iterable[Callable[[dict[str, Any]], None]], event: dict[str, Any]) -> None:
    for listener in listeners:
        listener(event)


def supervise(
    run: TrainingRun,
    *,
    leaving: Callable[[], bool] = lambda: False,
    say: Callable[[dict[str, Any]], None] = lambda event: None,
) -> bool:
    """Train a claimed run to its end, or as far as it gets. To be called by the main thread. `say` hears every event,
    those of steps and of pictures looked at with what the row tells of them: how many there are, the seconds left.

    False when this process was asked to go, by `leaving` or by a signal: it should claim nothing more.
    """
    kind = Search if run.kind == run.Kind.RANGE_TEST else Attempt
    ask = Ask(leaving)
    signals = (signal.SIGTERM, signal.SIGINT)
    try:
        with (
            about(**run.log_ids),
            ask.heard(*signals),
            Heart(run) as heart,
            at_hand(run, partial(goes_on, run, heart, ask)) as carrier,
        ):
            kind(run, heart, ask, partial(tell, (carrier.hear, say)) if carrier else say).go()
    except Lost:
        log.warning("%s is no longer ours: what this attempt made is dropped.", run)
    except StorageAway as error:
        run.wait(str(error), WAIT_SECONDS)
    except Cut:
        run.give_back()
    except (SourceError, ArtifactError) as error:
        run.finish(run.Status.STOPPED if run.stop_requested else run.Status.FAILED, str(error))
    return not ask()

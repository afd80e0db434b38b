"""Where Django meets the predictor: one for the process, made on first use, kept on the active version by a thread."""

import logging
import os
import threading
from typing import TYPE_CHECKING

from django.apps import AppConfig
from django.conf import settings
from django.db import Error, close_old_connections, connection

from breedsite.tally import tally
from classifier import examples
from classifier.engines.remote import Remote
from classifier.guard import Limits
from classifier.predictor import Identity, Predictor
from classifier.turns import Turns
from classifier.watcher import Target, Unreachable, Watcher

if TYPE_CHECKING:
    from classifier.models import ModelVersion

log = logging.getLogger(__name__)


class ClassifierConfig(AppConfig):
    """`apps.get_app_config("classifier").predictor` is the process's predictor.

    The server calls `start` before it listens; elsewhere the first use does. Management commands, migrations and the
    Celery parent never touch it, so they load no network. After a fork the child makes its own: neither threads nor
    ONNX Runtime's pool survive one.
    """

    name = "classifier"

    def ready(self) -> None:
        from classifier import checks  # noqa: F401 - registers them

        self._lock = threading.Lock()
        self._watcher: Watcher | None = None
        self.examples: list[examples.Example] = []  # of the version that answers, as the watcher last saw them
        self._examples_known = True
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self._lock = threading.Lock()
        self._watcher = None

    @property
    def predictor(self) -> Predictor:
        """No database access once it is made, except by the watcher's own thread."""
        watcher = self._watcher
        if watcher is None or not (watcher.alive or watcher.seconds == 0):
            watcher = self.start()
        return watcher.predictor

    def start(self) -> Watcher:
        """Loads the active version, if there is one, and keeps watching. Calling it again changes nothing."""
        with self._lock:
            if self._watcher is None:
                predictor = make_predictor()
                watcher = Watcher(
                    predictor,
                    look=active_target,
                    report=keep_failure,
                    seen=self.gather_examples,
                    rest=close_old_connections,
                    end=lambda: connection.close(),  # looked up in the thread that calls: each thread has its own
                    seconds=settings.VERSION_POLL_SECONDS,
                    bring=bring,
                )
                watcher.step()
                self._watcher = watcher
            if self._watcher.seconds:
                self._watcher.start()
            return self._watcher

    def stop(self) -> None:
        """Ends the thread and forgets the network; the next use begins anew."""
        with self._lock:
            if self._watcher is not None:
                self._watcher.stop()
                self._watcher.predictor.close()
            self._watcher = None
            self.examples = []

    def gather_examples(self, version: Identity | None) -> None:
        """Ask for the examples of this version, so that no page has to. They stay while the database is away."""
        try:
            self.examples = [one for source in examples.sources for one in source(version.digest)] if version else []
        except Error as error:
            if self._examples_known:
                log.warning("The example pictures cannot be looked up, those of before stay: %s", error)
            self._examples_known = False
        else:
            self._examples_known = True


def make_predictor() -> Predictor:
    return Predictor(
        threads=settings.PREDICT_THREADS,
        places=settings.PREDICT_QUEUE,
        max_wait_seconds=settings.PREDICT_WAIT_SECONDS,
        processes=settings.WEB_PROCESSES,
        limits=Limits(max_bytes=settings.MAX_IMAGE_BYTES),
        tell=tally.set,
        # In all web processes together: with every core on a large picture, each other photo would wait for it.
        large_turn=Turns(settings.DATA_DIR, "large", max(1, settings.CORES // 2)),
        remote=Remote(settings.ENGINE_SOCKET) if settings.ENGINE_SOCKET else None,
    )


def active_target() -> Target | None:
    from classifier.models import ModelVersion

    try:
        version = ModelVersion.objects.defer("spec").active()
    except Error as error:
        raise Unreachable(str(error).strip() or type(error).__name__) from error
    return None if version is None else target_of(version)


def target_of(version: "ModelVersion") -> Target:
    return Target(Identity(version.name, version.number, version.digest), version.path)


def bring(target: Target) -> None:
    """Let its folder be here. Raises ArtifactError, StorageAway."""
    from classifier.models.keeping import bring_version

    bring_version(target.folder, target.identity.digest)


def keep_failure(identity: Identity, sentence: str) -> None:
    """What could not be loaded is shown in the admin."""
    from classifier.models import ModelVersion

    try:
        ModelVersion.objects.filter(digest=identity.digest).update(failure=sentence)
    except Error:
        log.exception("Why %s could not be loaded could not be stored.", identity)

"""The resident model: loaded once, swapped without a gap, asked by many threads in the order in which they came."""

import secrets
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter

import numpy as np

from classifier import artifact, guard, preprocess
from classifier.artifact import ArtifactError, Engine
from classifier.engines.onnx import OnnxEngine
from classifier.engines.remote import Remote
from classifier.guard import Limits
from classifier.line import Line, LineFull
from classifier.preprocess import Preprocessing
from classifier.spec import Spec

HERE = "cpu"  # the processor, by ONNX Runtime in this process
AT_A_DEVICE = 4  # threads for each core where passes are made elsewhere: some decode while the others wait for theirs
SWAP_SECONDS = 2.0  # how long a swap waits for the engine process to hold the new version


class Busy(Exception):
    """Every place in the queue is taken, or the turn did not come in time."""

    def __init__(self) -> None:
        super().__init__("The server is busy. Try again in a few seconds.")
        self.retry_after_seconds = 3 + secrets.randbelow(5)  # 3..7: those refused together must not return together


class NoActiveVersion(Exception):
    """No model is loaded."""

    def __init__(self) -> None:
        super().__init__("No model is active yet.")


@dataclass(frozen=True)
class Identity:
    """Which version answers."""

    name: str
    number: int
    digest: str

    def __str__(self) -> str:
        return f"{self.name}:{self.number}"


@dataclass(frozen=True)
class Prediction:
    """One answer. Labels, identity and probabilities come from one and the same version."""

    identity: Identity
    labels: tuple[str, ...]
    probabilities: np.ndarray  # (K,) float64, 0..1, sum 1
    sure: bool  # the first probability reaches the threshold of the version
    warning: str | None  # what the asker should know of the picture
    elapsed_seconds: float
    device: str = HERE  # that made the forward pass: this, or torch's name of another
    thumbnail: bytes | None = None  # a small JPEG of the photo, where one was asked for

    @property
    def index(self) -> int:
        return int(self.probabilities.argmax())

    @property
    def label(self) -> str:
        return self.labels[self.index]

    def top(self, count: int) -> list[tuple[str, float]]:
        """The `count` most probable labels with their probabilities, best first; equal ones in label order."""
        order = np.argsort(-self.probabilities, kind="stable")[:count]
        return [(self.labels[i], float(self.probabilities[i])) for i in order]


@dataclass(frozen=True)
class Found:
    """What was found in one photo."""

    probabilities: np.ndarray  # (K,)
    device: str
    animated: bool  # there is more than the one picture that was looked at
    thumbnail: bytes | None


@dataclass(frozen=True)
class Resident:
    """A verified model in memory, in two sessions whose logits were equal to the last bit in every network tried.

    A pass on all cores is the quicker answer for one who is alone (resnet50: 45 ms instead of 77 on two cores), but it
    wastes them where others wait (mobilenet_v2: 115 photos a second instead of 217): then each answers on one core.
    """

    identity: Identity
    spec: Spec
    engine: Engine  # on all threads
    narrow: Engine  # on one thread; the same one where there is only one


class Predictor:
    """Answers for one process, from any number of threads.

    `threads` is how many processor threads they take, all for a lonely request or one each for several; `places` is how
    many may wait in front of them in the order of their arrival, none longer than `max_wait_seconds`. Large pictures,
    which take seconds, go one after the other through a line of their own, and leave half of the cores to others by
    `large_turn`. `processes` like this one share the cores.
    `tell` hears how many wait: `waiting` in the first line, `waiting_large` in the other.

    Where there is a `remote`, an engine process that owns another device, it makes the passes; and this process does
    whenever that cannot, so that no request depends on it.
    """

    def __init__(
        self,
        *,
        threads: int,
        places: int,
        max_wait_seconds: float,
        processes: int = 1,
        limits: Limits = Limits(),
        tell: Callable[[str, int], None] = lambda line, waiting: None,
        large_turn: Callable[[], AbstractContextManager[None]] = nullcontext,
        remote: Remote | None = None,
    ) -> None:
        self.threads = threads
        self.large_turn = large_turn  # that other processes wait for, too
        self.limits = limits
        # Or that of a Sandbox, which decodes in a process of its own.
        self.square: Callable[[bytes, Preprocessing], np.ndarray] = partial(preprocess.pixels, limits=limits)
        self.max_wait_seconds = max_wait_seconds
        self.remote = remote
        # One more than cores, where there are several: while one waits for the interpreter the others compute. Without
        # it, of two cores a quarter stood idle under 16 callers.
        workers = -(-threads // processes) + 1 if threads > 1 else 1
        self._line = Line(workers * (AT_A_DEVICE if remote else 1), places, partial(tell, "waiting"))
        # Those many would take turns on the cores, each slower for it, where all of them made their passes here.
        self._here: AbstractContextManager[object] = threading.BoundedSemaphore(workers) if remote else nullcontext()
        self._large = Line(1, places, partial(tell, "waiting_large"))
        self._resident: Resident | None = None

    @property
    def current(self) -> Resident | None:
        return self._resident

    @property
    def room(self) -> int:
        """How many callers it takes at a time: those at work, and those who wait for them."""
        return self._line.room

    @property
    def device(self) -> str:
        """What makes the passes now."""
        return (self.remote and self.remote.device) or HERE

    def tend(self) -> None:
        """To be called every second or so: see whether the engine process is there."""
        if self.remote and self._resident:
            self.remote.tend()

    def load(self, identity: Identity, folder: Path) -> None:
        """Loads aside, verifies, warms up, then swaps; requests under way end on the model they began with.

        Raises ArtifactError, and the model that answered before still does.
        """
        if artifact.digest(folder) != identity.digest:
            raise ArtifactError(f"spec.json in {folder.name} is not the one of {identity}")
        engines: list[Engine] = []

        def keep(file: Path, *, threads: int) -> Engine:
            engines.append(OnnxEngine(file, threads=threads))
            return engines[0]

        spec = artifact.verify(folder, keep)  # its golden passes are the warm-up
        narrow = wide = engines[0]
        if self.threads > 1:
            wide = OnnxEngine(folder / "model.onnx", threads=self.threads)
            artifact.verify_golden(wide, spec)
        if self.remote:
            self.remote.want(identity.digest, folder)
            self.remote.tend(longest_seconds=SWAP_SECONDS)
        self._resident = Resident(identity, spec, engine=wide, narrow=narrow)

    def predict(self, data: bytes, *, thumbnail_side: int | None = None) -> Prediction:
        """The bytes of a photo -> the answer of the model that is loaded now, with a thumbnail of that side (pixels).

        Raises guard.Refused for a file that is no usable picture, Busy, NoActiveVersion.
        """
        began = perf_counter()
        resident = self._resident
        if resident is None:
            raise NoActiveVersion
        work = partial(self._work, resident, data, thumbnail_side)
        try:
            found = self._line.do(partial(work, large=False), max_wait_seconds=self.max_wait_seconds)
            if found is None:
                left = max(0.0, self.max_wait_seconds - (perf_counter() - began))  # seconds
                found = self._large.do(partial(work, large=True), max_wait_seconds=left)
        except LineFull as error:
            raise Busy from error
        assert found is not None
        return Prediction(
            identity=resident.identity,
            labels=resident.spec.labels,
            probabilities=found.probabilities,
            sure=bool(found.probabilities.max() >= resident.spec.calibration.unsure_below),
            warning="This picture is animated: only its first frame was looked at." if found.animated else None,
            elapsed_seconds=perf_counter() - began,
            device=found.device,
            thumbnail=found.thumbnail,
        )

    def _work(self, resident: Resident, data: bytes, thumbnail_side: int | None, *, large: bool) -> Found | None:
        """What is in the photo; None for a large one that came through the line of the others."""
        header = guard.check(data, self.limits)
        if header.pixels > preprocess.LARGE_PIXELS and not large:
            return None
        with self.large_turn() if large else nullcontext():
            pixels = self.square(data, resident.spec.preprocessing)  # (H, W, 3)
            small = preprocess.thumbnail(data, thumbnail_side, self.limits) if thumbnail_side else None
        logits, device = self._passed(resident, pixels)
        return Found(resident.spec.calibration.probabilities(logits), device, header.animated, small)

    def _passed(self, resident: Resident, pixels: np.ndarray) -> tuple[np.ndarray, str]:
        """uint8 (H, W, 3) -> logits (K,), and the device that they come from"""
        if self.remote:
            digest, labels = resident.identity.digest, len(resident.spec.labels)
            if answer := self.remote.ask(digest, pixels[None], labels=labels):
                return answer.logits[0], answer.device
        image = preprocess.normalize(pixels, resident.spec.preprocessing)  # (3, H, W)
        with self._here:
            alone = self._line.inside + self._large.inside == 1
            engine = resident.engine if alone else resident.narrow
            return engine(image[None])[0], HERE

    def close(self) -> None:
        """Forgets the model; what is under way ends."""
        self._resident = None
        if self.remote:
            self.remote.close()

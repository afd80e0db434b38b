"""What a frozen backbone sees in photos, computed once: twenty epochs of a head cost little more than one pass.

Each training photo has the views of trainer.copies; an epoch shows one of them, drawn from (seed, epoch, photo). What
was computed is kept in a cache, so that neither a killed training nor the next one computes it again.
"""

import hashlib
import logging
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from classifier.preprocess import Preprocessing
from trainer import backbone, copies
from trainer.backbone import Apart, Look
from trainer.cache import FeatureCache, Keeper
from trainer.data import Prepare, batch_indices
from trainer.dataset import Dataset
from trainer.draws import generator
from trainer.ingest.record import Record
from trainer.recipe import Recipe

log = logging.getLogger(__name__)

AHEAD = 4  # photos that wait for each thread
VIEW_DRAWS = 2**32 - 1  # in the place of a step, of which no epoch has so many

Rows = dict[int, np.ndarray]  # view -> (D,)


@contextmanager
def workers() -> Iterator[ThreadPoolExecutor]:
    """A thread for each of torch's, in which torch uses one: every picture is looked at on one thread."""
    threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "features", initializer=partial(torch.set_num_threads, 1))
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Computing:
    """How many of the pictures that a backbone has to look at are done, those from the cache among them."""

    done: int
    total: int


class Features:
    """The features of a dataset's training and validation photos. Once filled, the loop learns from them."""

    def __init__(
        self,
        apart: Apart,
        dataset: Dataset,
        recipe: Recipe,
        preprocessing: Preprocessing,
        *,
        work: Path,
        cache: FeatureCache | None = None,
    ) -> None:
        """The backbone is a file in the folder `work` for a moment; without a cache everything is computed anew."""
        self.device = torch.device("cpu")
        self.net: nn.Module = apart.head
        self.head = "head"
        self.apart = apart
        self.recipe = recipe
        self.preprocessing = preprocessing
        self.work = work
        self.cache = cache
        self.records = [*dataset.train, *dataset.validation]
        self.labels = torch.tensor(dataset.answers(dataset.train), dtype=torch.int64)
        self.label_count = len(dataset.labels)
        self.digest = backbone.digest(apart.backbone)
        self.kinds = [copies.kind(self.digest, view, recipe, preprocessing) for view in range(recipe.views)]
        self.learning = torch.empty(0)  # (N, views, D) of the training photos
        self.plain = torch.empty(0)  # (V, D) of the validation photos

    @property
    def source(self) -> "Features":
        return self

    def named(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors of a head under their names in the whole network."""
        return {f"{self.apart.head_name}.{name.removeprefix('head.')}": tensor for name, tensor in weights.items()}

    # --- when it is filled ----------------------------------------------------------------------------------------
    def batches(self, recipe: Recipe, epoch: int, *, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """As trainer.data.Photos.batches: one view of each photo, (B, D), and labels (B,)."""
        count, choices, _ = self.learning.shape
        drawn = torch.randint(choices, (count,), generator=generator(recipe.seed, epoch, VIEW_DRAWS))
        for indices in batch_indices(self.labels, recipe, epoch, first=first):
            yield self.learning[indices, drawn[indices]], self.labels[indices]

    def inputs(self, recipe: Recipe, preprocessing: Preprocessing) -> Prepare:
        """Features are learnt from as they are."""
        return lambda features, _draws: features

    def logits(self, head: nn.Module) -> np.ndarray:
        """What a head says of the validation photos, float32 (V, K)."""
        with torch.inference_mode():
            said: np.ndarray = head.eval()(self.plain).float().numpy()
            return said

    # --- filling --------------------------------------------------------------------------------------------------
    def fill(self) -> Iterator[Computing]:
        """Read from the cache what is there and compute the rest, on all processors. Whoever closes the generator
        before its end finds in the cache what was done. Raises what reading and decoding a photo raise.
        """
        began = time.monotonic()
        with workers() as pool:
            photos = list(pool.map(lambda record: hashlib.sha256(record.read()).hexdigest(), self.records))
        rows, places = self.plan(photos)
        total = done = len(rows)
        for view, kind in enumerate(self.kinds):
            for photo, features in self.cache.read(kind) if self.cache else ():
                for row in places[view].pop(photo, ()):
                    rows[row] = features
        records = dict(zip(photos, self.records, strict=True))
        missing = {photo: [view for view, left in enumerate(places) if photo in left] for photo in records}
        todo = [(records[photo], photo, wanted) for photo, wanted in missing.items() if wanted]
        done -= sum(len(places[view][photo]) for _, photo, wanted in todo for view in wanted)
        yield Computing(done, total)
        for photo, seen in self.compute(todo):
            for view, features in seen.items():
                for row in places[view].pop(photo):
                    rows[row] = features
                    done += 1
            yield Computing(done, total)
        count = len(self.labels)
        self.learning = torch.from_numpy(rows[: count * len(self.kinds)]).view(count, len(self.kinds), -1)
        self.plain = torch.from_numpy(rows[count * len(self.kinds) :])
        log.info(
            "features of %d pictures, %d photos of them computed now, in %.1f s",
            *(total, len(todo), time.monotonic() - began),
        )

    def plan(self, photos: Sequence[str]) -> tuple[np.ndarray, list[dict[str, list[int]]]]:
        """The rows (all views of each training photo, then the validation photos), empty, and for each view the rows
        of each photo; a photo that is there twice has two.
        """
        places: list[dict[str, list[int]]] = [defaultdict(list) for _ in self.kinds]
        row = 0
        for number, photo in enumerate(photos):
            for view in range(len(self.kinds) if number < len(self.labels) else 1):
                places[view][photo].append(row)
                row += 1
        return np.empty([row, self.apart.width], np.float32), places

    def compute(self, todo: Sequence[tuple[Record, str, Sequence[int]]]) -> Iterator[tuple[str, Rows]]:
        """Photos with what the backbone sees in those of their views that are wanted, in the order of `todo`."""
        sides = {self.side(view) for _, _, wanted in todo for view in wanted}
        looks = {side: backbone.look(self.apart.backbone, side, within=self.work) for side in sorted(sides)}
        keeper = Keeper(self.cache)
        ahead = AHEAD * torch.get_num_threads()
        waiting: deque[tuple[str, Future[Rows]]] = deque()
        left = iter(todo)
        with workers() as pool:
            try:
                while True:
                    for record, photo, wanted in islice(left, ahead - len(waiting)):
                        waiting.append((photo, pool.submit(self.see, record, photo, wanted, looks)))
                    if not waiting:
                        return
                    photo, future = waiting.popleft()
                    seen = future.result()
                    keeper.add(photo, {self.kinds[view]: features for view, features in seen.items()})
                    yield photo, seen
            finally:
                keeper.flush()

    def see(self, record: Record, photo: str, wanted: Sequence[int], looks: dict[int, Look]) -> Rows:
        """In a thread of its own."""
        made = copies.pictures(record.read(), photo, wanted, self.recipe, self.preprocessing)
        return {view: looks[self.side(view)](picture)[0] for view, picture in made}

    def side(self, view: int) -> int:
        return copies.side(view, self.recipe, self.preprocessing)

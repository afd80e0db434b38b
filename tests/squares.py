"""A dataset row with its photos on the disk, and runs on it, for tests of what is done with them."""

import hashlib
from typing import Any

from tests.photos import draw, encoded
from tests.trainings import LABELS, RECIPE
from trainer.models import Dataset, Photo, TrainingRun
from trainer.recipe import Recipe
from trainer.split import PARTS


def make_dataset(name: str = "squares", count: int = 10) -> Dataset:
    """Ready, with `count` photos of each label: the first validates, the second tests, the others train."""
    dataset = Dataset.objects.create(
        name=name,
        number=1,
        status=Dataset.Status.READY,
        source_kind=Dataset.SourceKind.SERVER,
        source_name="squares",
        source_path="squares",
        labels=LABELS,
        fingerprint="ab" * 32,
        folder=f"{name}-1",
    )
    for label, text in enumerate(LABELS):
        for number in range(count):
            data = encoded(draw(label, number))
            photo = Photo(
                dataset=dataset,
                label=text,
                part=PARTS[{0: 1, 1: 2}.get(number, 0)],
                sha256=hashlib.sha256(data).hexdigest(),
                suffix=".png",
                pixels=hashlib.sha256(data[::-1]).hexdigest(),
                phash="0" * 16,
                group=label * count + number,
                name=f"{text}/{number}.png",
                bytes=len(data),
                width=32,
                height=32,
            )
            photo.save()
            file = photo.file(dataset.path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    Dataset.objects.filter(pk=dataset.pk).update(counts=dataset.count_photos())
    dataset.refresh_from_db()
    return dataset


def make_run(dataset: Dataset | None = None, **changes: Any) -> TrainingRun:
    """A queued run; `changes` are fields of the recipe."""
    recipe = Recipe.from_dict(RECIPE | changes)
    return TrainingRun.objects.start(dataset or make_dataset(), recipe, name="squares")

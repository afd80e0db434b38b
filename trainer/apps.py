from functools import partial

from django.apps import AppConfig

from classifier import evidence, examples


class TrainerConfig(AppConfig):
    name = "trainer"

    def ready(self) -> None:
        examples.sources.append(ticked)
        evidence.sources.append(test_photos)


def ticked(digest: str) -> list[examples.Example]:
    """The photos that people ticked in the dataset of a version: shown only while their bytes are those imported."""
    from trainer.models.dataset import Photo, read

    photos = Photo.objects.examples_of(digest)[: examples.MOST]
    files = ((photo, photo.file(photo.dataset.path)) for photo in photos)
    return [
        examples.Example(photo.sha256, photo.name, partial(read, file, photo.sha256, photo.name))
        for photo, file in files
    ]


def test_photos(digest: str) -> str | None:
    """The page of the test photos as a version answered them, where a run here made it."""
    from django.urls import reverse

    from trainer.models import TrainingRun

    run = TrainingRun.objects.filter(version__digest=digest).order_by("-pk").first()
    if run is None or not run.has_answers:
        return None
    return f"{reverse('admin:trainer_dataset_photos', args=[run.dataset_id])}?run={run.pk}&part=test"

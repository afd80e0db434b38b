"""What the settings of the chaos cannot say, because the models are not loaded yet. See `settings`."""

from django.apps import AppConfig


class Patience(AppConfig):
    name = "benchmarks.chaos"

    def ready(self) -> None:
        from breedsite import jobs

        jobs.MAX_DEATHS = 1_000_000

from django.apps import AppConfig


class BreedsiteConfig(AppConfig):
    name = "breedsite"

    def ready(self) -> None:
        from breedsite import checks  # noqa: F401 - registers them

from django.apps import AppConfig


class BreedsiteConfig(AppConfig):
    name = "breedsite"
    verbose_name = "Programs"  # what the admin has of it

    def ready(self) -> None:
        from breedsite import checks  # noqa: F401 - registers them

"""manage.py activateversion NAME[:NUMBER]|DIGEST: choose the version that answers."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.artifact import ArtifactError
from classifier.models import ModelVersion


class Command(BaseCommand):
    help = "Lets another installed version answer. Every running process follows within five seconds."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("version", metavar="NAME[:NUMBER]|DIGEST", help="without number: the newest of that name")

    def handle(self, *args: Any, version: str, **options: Any) -> None:
        try:
            chosen = ModelVersion.objects.named(version)
            chosen.activate()
        except ModelVersion.DoesNotExist as error:
            raise CommandError(str(error)) from error
        except ArtifactError as error:
            raise CommandError(f"{version} was not activated: {error}") from error
        self.stdout.write(f"{chosen} {chosen.digest[:12]} is active.")

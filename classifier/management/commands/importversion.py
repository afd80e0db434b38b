"""manage.py importversion FOLDER: install a model from disk."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.artifact import ArtifactError
from classifier.models import ModelVersion


class Command(BaseCommand):
    help = "Verifies the model in a folder (spec.json, model.onnx, weights.safetensors) and installs a copy of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("folder", type=Path)
        choice = parser.add_mutually_exclusive_group()
        choice.add_argument("--activate", action="store_true", help="let it answer from now on")
        choice.add_argument("--activate-if-none", action="store_true", help="only where no version is active yet")

    def handle(self, *args: Any, folder: Path, activate: bool, activate_if_none: bool, **options: Any) -> None:
        try:
            version = ModelVersion.objects.install(folder)
            if activate or (activate_if_none and ModelVersion.objects.active() is None):
                version.activate()
        except ArtifactError as error:
            raise CommandError(f"{folder} cannot be used: {error}") from error
        except OSError as error:
            raise CommandError(f"{folder} cannot be installed: {error}") from error
        self.stdout.write(f"{version} {version.digest[:12]} is installed{' and active' if version.is_active else ''}.")

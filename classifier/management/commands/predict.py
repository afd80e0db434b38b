"""manage.py predict FILES…: what the photos show, as JSON lines."""

import json
import sys
from argparse import ArgumentParser
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from classifier.apps import bring, make_predictor, target_of
from classifier.artifact import ArtifactError
from classifier.guard import Refused
from classifier.models import ModelVersion
from classifier.predictor import Predictor
from classifier.sandbox import Sandbox


class Command(BaseCommand):
    help = (
        "Writes one JSON line for each photo: file, label, probability, top, sure, version; or file, code and detail "
        "for one that cannot be used. Ends with 1 when there was such a one. Needs no running site."
    )

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        # Every Django command has a --version of its own, which tells Django's; here it chooses the model.
        return super().create_parser(prog_name, subcommand, conflict_handler="resolve", **kwargs)

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", nargs="+", type=Path, metavar="FILE")
        parser.add_argument("--version", metavar="NAME[:NUMBER]|DIGEST", help="another than the active version")
        parser.add_argument("--top", type=int, default=5, metavar="N", help="how many labels in `top` (default 5)")
        parser.add_argument(
            "--sandbox", action="store_true", help="decode in a child process with limits: for files of strangers"
        )

    def handle(
        self, *args: Any, files: list[Path], version: str | None, top: int, sandbox: bool, **options: Any
    ) -> None:
        if top < 1:
            raise CommandError("--top must be at least 1.")
        predictor = loaded(version)
        failed = False
        with ExitStack() as stack:
            if sandbox:
                predictor.square = stack.enter_context(Sandbox(limits=predictor.limits)).square
            for file in files:
                answer = predict(predictor, file, top=top)
                failed |= "code" in answer
                self.stdout.write(json.dumps(answer))  # ASCII, for a file's name need not be UTF-8
        predictor.close()
        if failed:
            sys.exit(1)


def loaded(name: str | None) -> Predictor:
    """A predictor with the active version, or the named one."""
    try:
        version = ModelVersion.objects.named(name) if name else ModelVersion.objects.active()
    except ModelVersion.DoesNotExist as error:
        raise CommandError(str(error)) from error
    if version is None:
        raise CommandError("No version is active: manage.py importversion FOLDER --activate installs one.")
    predictor = make_predictor()
    predictor.remote = None  # what the engine process holds is the web processes' business
    target = target_of(version)
    try:
        bring(target)
        predictor.load(target.identity, target.folder)
    except ArtifactError as error:
        raise CommandError(f"{version} cannot be loaded: {error}") from error
    return predictor


def predict(predictor: Predictor, file: Path, *, top: int) -> dict[str, Any]:
    """The line of one file."""
    try:
        with file.open("rb") as handle:
            data = handle.read(predictor.limits.max_bytes + 1)  # one more than allowed: enough to refuse it
        prediction = predictor.predict(data)
    except Refused as refused:
        return {"file": str(file), "code": refused.code, "detail": refused.sentence, **refused.details}
    except OSError as error:
        return {"file": str(file), "code": "not_found", "detail": f"This file cannot be read: {error.strerror}."}
    answer = {
        "file": str(file),
        "label": prediction.label,
        "probability": float(prediction.probabilities[prediction.index]),
        "top": [{"label": label, "probability": probability} for label, probability in prediction.top(top)],
        "sure": prediction.sure,
        "version": vars(prediction.identity),
    }
    return answer if prediction.warning is None else answer | {"warning": prediction.warning}

"""manage.py architecture NAME: the layers of a network, and what of them learns."""

import json
from pathlib import Path
from typing import Any, get_args, get_type_hints

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from trainer.layers import LABELS, LayersError, layer_table
from trainer.models import Dataset
from trainer.recipe import Recipe, RecipeError
from trainer.weights import find, missing


class Command(BaseCommand):
    help = "Writes the layer table of a network: each layer's output and parameters, and how many of them learn."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="of the network, such as resnet9, mobilenet_v2 or timm-convnext_atto")
        count = parser.add_mutually_exclusive_group()
        count.add_argument("--labels", type=int, default=10, help="how many labels (default 10)")
        count.add_argument("--dataset", metavar="NAME", help="as many as this dataset has, NAME or NAME:NUMBER")
        parser.add_argument("--size", type=int, default=224, help="side of the pictures in pixels (default 224)")
        parser.add_argument("--head", default="linear", help="linear, or hidden layers such as 512-256-128")
        parser.add_argument("--trainable", default="all", choices=get_args(get_type_hints(Recipe)["trainable"]))
        parser.add_argument("--last-blocks", type=int, default=1, help="how many learn with --trainable 'last blocks'")
        parser.add_argument("--json", action="store_true", help="the table as JSON")

    def handle(
        self, *args: Any, name: str, labels: int, dataset: str | None, size: int, head: str, **options: Any
    ) -> None:
        try:
            labels = len(Dataset.objects.named(dataset).labels) if dataset else labels
        except Dataset.DoesNotExist as error:
            raise CommandError(str(error)) from error
        if labels < LABELS.start:
            raise CommandError(f"--labels must be at least {LABELS.start}.")
        try:
            recipe = Recipe(
                architecture=name,
                image_size=size,
                head=head,
                trainable=options["trainable"],
                last_blocks=options["last_blocks"],
            )
            table = layer_table(recipe, labels)
        except (RecipeError, LayersError) as error:
            raise CommandError(str(error)) from error
        if options["json"]:
            self.stdout.write(json.dumps(table))
            return
        for layer, kind, output, parameters, trainable in table["layers"]:
            shape = "x".join(map(str, output)) if output else "-"
            self.stdout.write(f"{layer:<48} {kind:<22} {shape:>14} {parameters:>12,} {trainable:>12,}")
        self.stdout.write(
            f"{table['parameters']:,} parameters, {table['trainable']:,} of them learn; "
            f"{table['statistics']:,} batch-norm statistics; {labels} labels, {size}x{size} pixels."
        )
        self.stdout.write(f"Pretrained weights: {weights(name, table['weights_file'])}")


def weights(name: str, library_file: str | None) -> str:
    """Where they are, or what to do."""
    folder: Path | None = settings.WEIGHTS_DIR
    found = find(folder, name, library_file) if folder else None
    return str(found) if found else missing(name, library_file, folder)

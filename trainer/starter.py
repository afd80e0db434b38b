"""Make the model that ships with the site: one command, from photos in class folders and pretrained weights.

    python -m trainer.starter --data dogs120.zip --weights mobilenet_v2.pth --out starter

The photos are divided 80/10/10 by content and seed; the head starts from the pretrained rows of the same names; all
layers are trained; validation chooses the epoch, how far to go from the pretrained weights to that epoch's, and the
calibration; the test photos are read once, at the end. Checkpoints lie in `starter.work`: a second call goes on where
the first was stopped.
"""

import argparse
import json
import logging
import sys
from pathlib import Path

from classifier.artifact import ArtifactError
from classifier.preprocess import Preprocessing
from classifier.sources.listing import SourceError
from trainer import dataset, environment, presets
from trainer.fit import Fit
from trainer.ingest import source
from trainer.loop import Diverged
from trainer.origin import Card, origin
from trainer.publish import publish
from trainer.recipe import Recipe, RecipeError
from trainer.split import SplitError
from trainer.warmstart import WeightsError, warm_start

log = logging.getLogger("trainer.starter")

PREPROCESSING = Preprocessing(resize=192, crop=192)
CARD = Card(
    data="Stanford Dogs: 9,000 photographs of 120 breeds, 75 of each, at 224x224 pixels (dogs120.zip), divided by "
    "content and seed into training, validation and test; duplicates and near duplicates stay in one part",
    backbone="MobileNetV2, pretrained on ImageNet's 1,000 classes; the head started from the rows of the same names",
    backbone_has_seen_the_photos="Stanford Dogs was drawn from ImageNet's training images, on which the backbone was "
    "trained: its figures on them are higher than on photographs that are new to it.",
    license="The weights are this project's. The photographs belong to their authors and are not redistributed.",
    intended_use="Suggesting which of 120 dog breeds a photograph of one dog shows, for people who are curious.",
    not_for=[
        "Decisions about a dog or its keeper: insurance, housing, breed laws, veterinary care, pedigrees",
        "Mixed breeds, and breeds outside the 120: it always names one of its own (the dalmatian is not among them)",
        "Telling whether there is a dog at all: it names a breed for every picture",
        "Finding or counting several dogs in one picture",
    ],
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m trainer.starter", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="zip or folder of class folders")
    parser.add_argument("--weights", type=Path, required=True, help="pretrained weights of the architecture")
    parser.add_argument("--out", type=Path, required=True, help="folder of the artifact; must not exist")
    parser.add_argument(
        "--work", type=Path, help="folder of the checkpoints, where a second call goes on (default: OUT.work)"
    )
    parser.add_argument("--name", default="dogs120", help="name of the version (default: dogs120)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="change a field of the recipe"
    )
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    try:
        make(
            arguments.data,
            arguments.weights,
            out=arguments.out,
            work=arguments.work or arguments.out.with_name(f"{arguments.out.name}.work"),
            name=arguments.name,
            recipe=presets.changed(presets.STARTER, arguments.set),
        )
    except (ArtifactError, dataset.DatasetError, Diverged, RecipeError, SourceError, SplitError, WeightsError) as error:
        sys.exit(str(error))


def make(data: Path, weights: Path, *, out: Path, work: Path, name: str, recipe: Recipe) -> None:
    """The whole way from photos to an artifact."""
    if out.exists():
        raise ArtifactError(f"{out} exists already, and a model is never overwritten: name another folder.")
    parts = dataset.prepare(source.records(data), seed=recipe.seed)
    architecture = {"name": recipe.architecture, "head": {"kind": "linear"}}
    warm = warm_start(architecture, parts.labels, weights)
    log.info("%d of %d labels start from the pretrained row of their name", len(warm.matched), len(parts.labels))
    fit = Fit(warm.net, parts, recipe, PREPROCESSING, work=work)
    for measured in fit.epochs():
        log.info("%s", json.dumps(measured.as_dict()))
    net, shares = fit.best_net()
    published = publish(
        net,
        parts,
        PREPROCESSING,
        name=name,
        architecture=architecture,
        out=out,
        origin=lambda: origin(
            CARD,
            recipe,
            command=f"python -m trainer.starter --data {data.name} --weights {weights.name} --out {out.name}",
            dataset_fingerprint=parts.fingerprint,
            duration_seconds=sum(epoch["seconds"] for epoch in fit.history),
            facts={
                "split": {"train": len(parts.train), "validation": len(parts.validation), "test": len(parts.test)},
                "weights_sha256": warm.weights_sha256,
                "labels_started_by_name": len(warm.matched),
                "best_epoch": fit.best["epoch"],
                "share_of_training": next(iter(shares)),
                "validation_loss_of_shares": {str(share): loss for share, loss in shares.items()},
                "epochs": fit.history,
            },
        ),
    )
    log.info("%s: %s", out, published.digest)


if __name__ == "__main__":
    environment.restart_with_settings("trainer.starter")
    main()

"""fastai's learner, or timm's loader in front of a plain loop, waiting to be measured as in benchmarks.train_loops.

    python -m benchmarks.train_peers WAY PRESET SIDE BATCH FOLDER     (in their own environment)

Only the two small residual networks: they need nothing of the site but torch.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

from torch import nn

from benchmarks.train_loops import LABELS, Pace, plain_loop
from classifier.networks import small_resnets

PADDING = {32: 4, 64: 8}  # as the presets have it


def fastai(workers: int, side: int, batch_size: int, folder: Path, pace: Pace) -> None:
    """Its own data block, augmentation on whole batches where it has it, one-cycle with Adam."""
    from fastai.vision.all import (  # type: ignore[import-not-found]
        Adam,
        Callback,
        CrossEntropyLossFlat,
        Flip,
        ImageDataLoaders,
        Learner,
        Normalize,
        PadMode,
        RandomCrop,
    )
    from fastai.vision.augment import CropPad

    class Paced(Callback):  # type: ignore[misc]
        def after_batch(self) -> None:
            if self.training:
                pace.step()

    padding = PADDING[side]
    crop = [CropPad(side + 2 * padding, pad_mode=PadMode.Reflection), RandomCrop(side)]
    batch = [Flip(), Normalize.from_stats((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    data = ImageDataLoaders.from_folder(
        folder, valid_pct=0.01, bs=batch_size, num_workers=workers, item_tfms=crop, batch_tfms=batch
    )
    learner = Learner(
        data, network(), opt_func=Adam, loss_func=CrossEntropyLossFlat(), cbs=[Paced()], wd=1e-4, train_bn=True
    )
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(1000, 0.01)


def timm_loader(workers: int, side: int, batch_size: int, folder: Path) -> Iterator[None]:
    """timm's dataset and loader with a crop and a mirror, as its train script makes them on a CPU."""
    from timm.data import create_dataset, create_loader

    photos = create_dataset("", root=str(folder), split="train", is_training=True)
    loader = create_loader(
        photos,
        input_size=(3, side, side),
        batch_size=batch_size,
        is_training=True,
        scale=(0.8, 1.0),
        ratio=(1.0, 1.0),
        hflip=0.5,
        color_jitter=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        use_prefetcher=False,
        pin_memory=False,
    )
    yield from plain_loop(network(), loader, clip_value=0.1, weight_decay=1e-4)


def network() -> nn.Module:
    return small_resnets.create("resnet9", label_count=LABELS)


def main() -> None:
    way, preset, side, batch_size, folder = sys.argv[1:]
    assert "resnet9" in preset, "the others' environment has no other network"
    workers = 2 if "2-workers" in way else 0
    pace = Pace()
    if way.startswith("fastai"):
        fastai(workers, int(side), int(batch_size), Path(folder), pace)
        return
    for _ in timm_loader(workers, int(side), int(batch_size), Path(folder)):
        pace.step()


if __name__ == "__main__":
    main()

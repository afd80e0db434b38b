"""From a divided dataset and a warm network to the best weights: train, measure on validation, keep a checkpoint.

The validation photos choose the epoch (smallest loss) and how far to go from the first weights to that epoch's; the
test photos are not touched here.
"""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from classifier.preprocess import Preprocessing
from classifier.quality import Rate
from trainer import checkpoint
from trainer.balance import weights
from trainer.blend import blend, choose
from trainer.cache import FeatureCache
from trainer.calibrate import fit_temperature
from trainer.data import batch_count
from trainer.dataset import Dataset
from trainer.evaluate import logits_of, loss_of, top, torch_forward
from trainer.features import Computing
from trainer.figures import finite
from trainer.gpu import settle
from trainer.ground import ground
from trainer.group import ALONE, Group
from trainer.loop import CPU, Epoch, Step, Training, progress
from trainer.recipe import Recipe
from trainer.weights import WeightsError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Measured:
    """One epoch with what the validation photos say of it."""

    epoch: Epoch
    validation_loss: float
    validation_top1: Rate

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON values, null for what is not finite; the trail is kept apart."""
        figures = dataclasses.asdict(self.epoch)
        del figures["trail"]
        return finite(
            figures | {"validation_loss": self.validation_loss, "validation_top1": self.validation_top1.value}
        )


class Fit:
    """A training on its way in the folder `work`, which holds its last two checkpoints. A new Fit of the same folder
    goes on after the newest of them, with the same result; so does one that names it among the `earlier` folders."""

    def __init__(
        self,
        net: nn.Module,
        dataset: Dataset,
        recipe: Recipe,
        preprocessing: Preprocessing,
        *,
        work: Path,
        earlier: Sequence[Path] = (),
        cache: FeatureCache | None = None,
        device: torch.device = CPU,
        group: Group = ALONE,
    ) -> None:
        """`cache` keeps what a frozen backbone sees; `device` is where the network learns, `group` with whom. Raises
        WeightsError where the frozen weights of the folder's checkpoint were others."""
        settle(device)
        work.mkdir(parents=True, exist_ok=True)
        self.net = net
        self.started = copy.deepcopy(net.state_dict())
        self.dataset = dataset
        self.preprocessing = preprocessing
        self.work = work
        self.ground = ground(net, dataset, recipe, preprocessing, work=work, cache=cache, device=device, group=group)
        labels = self.ground.labels
        self.training = Training(
            self.ground.net,
            recipe,
            head=self.ground.head,
            steps_per_epoch=batch_count(len(labels), recipe.batch_size),
            label_weights=weights(labels, len(dataset.labels)) if recipe.balance == "weights" else None,
            device=self.ground.device,
            group=group,
        )
        self.history: list[dict[str, Any]] = []
        self.trails: list[list[list[float]]] = []  # of the epochs of the history
        self.best: dict[str, Any] = {}  # epoch, loss, weights; empty until an epoch is finite
        self.filling_seconds = 0.0
        self.saving_seconds = 0.0  # of the last checkpoint
        state = checkpoint.latest(*earlier, work)
        if state is not None:
            if state.get("frozen", "") != self.ground.digest:
                raise WeightsError(
                    "The pretrained weights are not those that this training began with: put the earlier file back, "
                    "or start a new run."
                )
            self.training.restore(state["training"])
            self.history, self.trails, self.best = state["history"], state["trails"], state["best"]
            self.filling_seconds = state.get("filling_seconds", 0.0)
            done = self.training
            log.info("going on after epoch %d, step %d", done.epochs_done, done.sums.steps)
        if group.size > 1 and not group.agree(*self.begins()):
            raise WeightsError("The processes of this training do not begin with the same weights: start it again.")

    def begins(self) -> tuple[float, ...]:
        """Numbers by which two processes tell whether they begin alike."""
        training = self.training
        weights = sum(parameter.detach().double().abs().sum().item() for parameter in training.net.parameters())
        return training.epochs_done, training.sums.steps, weights

    def epochs(self) -> Iterator[Measured]:
        """The epochs that are left, each saved before it is yielded. Raises loop.Diverged."""
        return (one for one in self.progress() if isinstance(one, Measured))

    def progress(self) -> Generator[Computing | Step | Measured]:
        """How far a frozen backbone is with looking, then the steps and epochs that are left. Raises loop.Diverged, or
        OSError when the disk is full."""
        if self.out_of_patience() or self.training.epochs_done >= self.training.recipe.epochs:
            return
        began = time.monotonic()
        yield from self.ground.fill()
        self.filling_seconds += time.monotonic() - began
        answers = np.array(self.dataset.answers(self.dataset.validation))
        for one in progress(self.training, self.ground.source, self.preprocessing):
            if isinstance(one, Step):
                yield one
                continue
            net = self.training.kept()
            logits = self.ground.logits(net)
            measured = Measured(one, loss_of(logits, answers), top(logits, answers, 1))
            self.history.append(measured.as_dict())
            self.trails.append(one.trail)
            loss = measured.validation_loss
            # Earlier releases may have kept a NaN, which is no smaller than anything.
            if math.isfinite(loss) and not loss >= self.best.get("loss", math.inf):
                weights = self.ground.named({name: copy.deepcopy(one.cpu()) for name, one in net.state_dict().items()})
                self.best = {"epoch": one.number, "loss": loss, "weights": weights}
            self.save()
            yield measured
            if self.out_of_patience():
                return

    def out_of_patience(self) -> bool:
        """Whether the best epoch lies as far back as the recipe's patience goes."""
        patience = self.training.recipe.patience
        return patience > 0 and bool(self.best) and self.training.epochs_done - self.best["epoch"] >= patience

    def save(self) -> None:
        """Write a checkpoint, in the middle of an epoch or at its end. Raises OSError when the disk is full. In a group
        the first process writes it, for all."""
        if not self.training.group.leads:
            return
        state = {
            "training": self.training.state(),
            "history": self.history,
            "trails": self.trails,
            "best": self.best,
            "frozen": self.ground.digest,
            "filling_seconds": self.filling_seconds,
        }
        began = time.monotonic()
        checkpoint.save(self.work, state, epoch=self.training.epochs_done, step=self.training.sums.steps)
        self.saving_seconds = time.monotonic() - began

    def best_net(self) -> tuple[nn.Module, dict[float, float]]:
        """The network of the best epoch, blended with the one it started from as validation likes it best, and the
        validation loss, calibrated, of every share that was tried: the best one first."""
        net = self.net
        answers = np.array(self.dataset.answers(self.dataset.validation))

        def measure(share: float) -> float:
            net.load_state_dict(self.started | blend(self.started, self.best["weights"], share))
            logits = logits_of(torch_forward(net), self.dataset.validation, self.preprocessing)
            loss = loss_of(logits / fit_temperature(logits, answers), answers)
            log.info("%.2f of the way: loss %.4f, top-1 %.4f", share, loss, top(logits, answers, 1).value)
            return loss

        losses = choose(measure)
        net.load_state_dict(self.started | blend(self.started, self.best["weights"], next(iter(losses))))
        return net.eval(), losses

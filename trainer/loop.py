"""The training loop: a generator of epochs.

    training = Training.start(net, recipe, head=..., steps_per_epoch=photos.steps(recipe.batch_size))
    for epoch in train(training, photos, preprocessing):
        ...  # store it, print it, measure training.kept(), save training.state(), or stop by not asking for the next

`progress` gives every step as well, after which the state may be saved too. Every draw comes from (seed, epoch, step),
and `Training.state()` holds everything else, so a training that goes on from a checkpoint, in the middle of an epoch or
not, ends with the same bits on the same processor, torch build and number of threads.
"""

import copy
import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classifier.networks import parts
from classifier.preprocess import Preprocessing
from trainer import optimize
from trainer.augment import augment, generator
from trainer.data import Photos
from trainer.mix import mix
from trainer.recipe import Recipe
from trainer.schedule import point

MAX_NONFINITE_IN_A_ROW = 3
TRAIL = 100  # steps of an epoch, at most, whose rate and loss are kept
MAX_NONFINITE = 0.01  # of the steps of an epoch, where that is more than two


class Diverged(ArithmeticError):
    """The loss became infinite or NaN again and again; the sentence names epoch, step and learning rate."""


@dataclass
class Sums:
    """What the steps of the epoch under way have brought so far."""

    steps: int = 0
    loss: float = 0.0  # times photos
    right: int = 0
    seen: int = 0  # photos
    skipped: int = 0  # steps whose gradient was not finite
    skipped_in_a_row: int = 0
    seconds: float = 0.0
    trail: list[list[float]] = dataclasses.field(default_factory=list)  # [step, learning rate, loss] of some steps


@dataclass(frozen=True)
class Step:
    """One step: its number in the epoch (1, 2, ...), its loss (NaN where it was skipped) and its learning rate."""

    epoch: int
    number: int
    loss: float
    learning_rate: float


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training photos brought. Accuracy is on augmented photos, by the moving weights."""

    number: int  # 1, 2, ...
    loss: float
    accuracy: float  # 0..1
    learning_rate: float  # at the end
    skipped_steps: int  # their gradient was not finite
    seconds: float
    images_per_second: float
    trail: list[list[float]]  # [step, learning rate, loss] of some steps


class Training:
    """A network on its way: weights, their average, optimizer, and how many epochs are done."""

    def __init__(
        self,
        net: nn.Module,
        recipe: Recipe,
        *,
        head: str,
        steps_per_epoch: int,
        label_weights: Tensor | None = None,  # (K,) in the loss
    ) -> None:
        self.net: nn.Module = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.label_weights = label_weights
        self.average = copy.deepcopy(self.net).requires_grad_(False) if recipe.average else None
        self.frozen = parts.freeze(net, recipe.trainable, last_blocks=recipe.last_blocks)
        self.optimizer = optimize.optimizer(net, recipe, head=head)
        self.steps = 0
        self.epochs_done = 0
        self.sums = Sums()
        self.steps_per_epoch = steps_per_epoch
        self.all_steps = steps_per_epoch * recipe.epochs

    def kept(self) -> nn.Module:
        """The network that is measured and exported: the averaged one, ready for evaluation."""
        return (self.average if self.average is not None else self.net).eval()

    def step(self, images: Tensor, targets: Tensor) -> tuple[Tensor, float]:
        """One step on images (B, 3, S, S) and targets (B, K). Returns logits and loss; a NaN loss means no step."""
        recipe = self.recipe
        optimize.move_to(self.optimizer, point(recipe, self.steps, self.all_steps))
        self.optimizer.zero_grad(set_to_none=True)
        all_logits, total = [], 0.0
        for some, wanted in zip(images.chunk(recipe.accumulation), targets.chunk(recipe.accumulation), strict=True):
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bfloat16"):
                logits = self.net(some).float()
            loss = F.cross_entropy(logits, wanted, self.label_weights, label_smoothing=recipe.label_smoothing)
            loss = loss * (len(some) / len(images))
            loss.backward()
            all_logits.append(logits.detach())
            total += loss.item()
        norm = optimize.clip(self.net, recipe)
        self.steps += 1
        if not torch.isfinite(norm):
            return torch.cat(all_logits), math.nan
        self.optimizer.step()
        self.follow()
        return torch.cat(all_logits), total

    def train_mode(self) -> None:
        """Ready for an epoch: what is frozen stays in evaluation mode, its batch-norm statistics stand still."""
        self.net.train()
        for part in self.frozen:
            part.eval()
        if self.recipe.batch_norm == "frozen":
            freeze_statistics(self.net)

    def follow(self) -> None:
        """Move the average towards the weights; early on faster, so that it forgets where it started."""
        if self.average is None:
            return
        decay = min(self.recipe.average, (1 + self.steps) / (10 + self.steps))
        with torch.no_grad():
            torch._foreach_lerp_(list(self.average.parameters()), list(self.net.parameters()), 1 - decay)
            for kept, current in zip(self.average.buffers(), self.net.buffers(), strict=True):
                kept.copy_(current)

    def state(self) -> dict[str, Any]:
        """Everything to go on from: tensors and plain values."""
        return {
            "recipe": self.recipe.as_dict(),
            "net": self.net.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "steps": self.steps,
            "epochs_done": self.epochs_done,
            "sums": dataclasses.asdict(self.sums),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`; raises ValueError when it is of another recipe."""
        if Recipe.from_dict(state["recipe"]) != self.recipe:
            raise ValueError("The checkpoint is of a training with another recipe: start in a new folder.")
        self.net.load_state_dict(state["net"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]
        self.epochs_done = state["epochs_done"]
        self.sums = Sums(**state["sums"])

    def count(self, loss: float, right: int, seen: int, seconds: float) -> Step:
        """Add a step to the sums. Raises Diverged when too many of them were skipped."""
        sums = self.sums
        sums.steps += 1
        sums.right += right
        sums.seen += seen
        sums.seconds += seconds
        if math.isfinite(loss):
            sums.loss, sums.skipped_in_a_row = sums.loss + loss * seen, 0
        else:
            sums.skipped, sums.skipped_in_a_row = sums.skipped + 1, sums.skipped_in_a_row + 1
        rate = self.optimizer.param_groups[0]["lr"]
        if math.isfinite(loss) and sums.steps % -(-self.steps_per_epoch // TRAIL) == 0:
            sums.trail.append([sums.steps, rate, loss])
        many = sums.skipped > max(2, MAX_NONFINITE * self.steps_per_epoch)
        if many or sums.skipped_in_a_row == MAX_NONFINITE_IN_A_ROW:
            raise Diverged(
                f"The loss became NaN at epoch {self.epochs_done + 1}, step {sums.steps} (learning rate {rate:g}): "
                "try a smaller learning rate."
            )
        return Step(epoch=self.epochs_done + 1, number=sums.steps, loss=loss, learning_rate=rate)

    def end_epoch(self) -> Epoch:
        """Close the sums."""
        sums, self.sums = self.sums, Sums()
        self.epochs_done += 1
        return Epoch(
            number=self.epochs_done,
            loss=sums.loss / max(sums.seen, 1),
            accuracy=sums.right / max(sums.seen, 1),
            learning_rate=self.optimizer.param_groups[0]["lr"],
            skipped_steps=sums.skipped,
            seconds=sums.seconds,
            images_per_second=sums.seen / sums.seconds,
            trail=sums.trail,
        )


def train(training: Training, photos: Photos, preprocessing: Preprocessing) -> Iterator[Epoch]:
    """The epochs that are left to do. Raises Diverged."""
    return (one for one in progress(training, photos, preprocessing) if isinstance(one, Epoch))


def progress(training: Training, photos: Photos, preprocessing: Preprocessing) -> Iterator[Step | Epoch]:
    """The steps that are left to do, and after the last one of each epoch the epoch. Raises Diverged."""
    recipe = training.recipe
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    while training.epochs_done < recipe.epochs:
        training.train_mode()
        epoch, began = training.epochs_done, time.monotonic()
        for pixels, labels in photos.batches(recipe, epoch, first=training.sums.steps):
            draws = generator(recipe.seed, epoch, training.sums.steps)
            torch.manual_seed(int(torch.randint(2**62, (), generator=draws)))  # dropout draws from the global generator
            images = (augment(pixels, recipe, draws) - mean) / std  # (B, 3, S, S)
            targets = F.one_hot(labels, photos.label_count).float()  # (B, K)
            images, targets = mix(images, targets, recipe, draws)
            logits, loss = training.step(images.contiguous(memory_format=torch.channels_last), targets)
            right = int((logits.argmax(1) == labels).sum())
            yield training.count(loss, right, len(labels), time.monotonic() - began)
            began = time.monotonic()
        yield training.end_epoch()


def freeze_statistics(net: nn.Module) -> None:
    """Let every batch norm use its stored statistics and leave them alone; its scale and shift still learn."""
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()

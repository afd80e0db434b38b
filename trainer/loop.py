"""The training loop: a generator of epochs.

    training = Training.start(net, recipe, head=..., steps_per_epoch=photos.steps(recipe.batch_size))
    for epoch in train(training, photos, preprocessing):
        ...  # store it, print it, measure training.kept(), save training.state(), or stop by not asking for the next

`progress` gives every step as well, after which the state may be saved too. Every draw comes from (seed, epoch, step),
and `Training.state()` holds everything else, so a training that goes on from a checkpoint, in the middle of an epoch or
not, ends with the same bits on the same processor, torch build and number of threads. On a GPU the same loop runs with
the same draws, but its sums come in no fixed order: two trainings differ in their last digits, and so do their figures.

Several processes that are a `trainer.group.Group` make each step together, each with its share of the batch.
"""

import copy
import dataclasses
import logging
import math
import time
from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from classifier.networks import parts
from classifier.preprocess import Preprocessing
from trainer import optimize
from trainer.data import Prepare
from trainer.draws import PartDraws, generator
from trainer.figures import Epoch, Step, Sums, Unread
from trainer.gpu import channels_last, in_bfloat16
from trainer.group import ALONE, WHOLE, Group, Share, synchronized
from trainer.mix import mix
from trainer.recipe import Recipe
from trainer.schedule import point

log = logging.getLogger(__name__)

CPU = torch.device("cpu")
LOOK_STEPS = 16  # on a GPU: steps whose figures are read at once, for who reads waits until it has done its work
MAX_NONFINITE_IN_A_ROW = 3
LITTLE = (
    "The GPU has too little memory for this network at this size, even for a few photos at a time: try a smaller "
    "image_size, or free the GPU."
)
LITTLE_TOGETHER = "A GPU has too little memory for its share of a batch: try more accumulation, or a smaller size."
TRAIL = 100  # steps of an epoch, at most, whose rate and loss are kept
MAX_NONFINITE = 0.01  # of the steps of an epoch, where that is more than two


class Source(Protocol):
    """What a training learns from: trainer.data.Photos, or the features that a frozen backbone sees in them."""

    @property
    def label_count(self) -> int: ...

    def batches(self, recipe: Recipe, epoch: int, *, first: int = 0) -> Iterator[tuple[Tensor, Tensor]]: ...

    def inputs(self, recipe: Recipe, preprocessing: Preprocessing) -> Prepare: ...


class TooLittleMemory(MemoryError):
    """The device has no room for the smallest part of a batch; the sentence says what to do."""


class Diverged(ArithmeticError):
    """The loss became infinite or NaN again and again; the sentence names epoch, step and learning rate."""


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
        device: torch.device = CPU,
        group: Group = ALONE,
    ) -> None:
        self.group = group
        self.synchronized = group.size > 1 and device.type == "cuda"  # batch norms wait for one another
        net = synchronized(net) if self.synchronized else net
        self.net: nn.Module = net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.recipe = recipe
        self.device = device
        self.bfloat16 = in_bfloat16(recipe, device)
        self.look_steps = LOOK_STEPS if device.type == "cuda" else 1
        self.parts = recipe.accumulation  # in which a batch is computed
        self.label_weights = None if label_weights is None else label_weights.to(device)
        self.average = copy.deepcopy(self.net).requires_grad_(False) if recipe.average else None
        self.frozen = parts.freeze(net, recipe.trainable, last_blocks=recipe.last_blocks)
        self.optimizer = optimize.optimizer(net, recipe, head=head)
        self.steps = 0
        self.epochs_done = 0
        self.skipped_in_a_row = 0  # steps, across epochs
        self.sums = Sums()
        self.steps_per_epoch = steps_per_epoch
        self.all_steps = steps_per_epoch * recipe.epochs

    def kept(self) -> nn.Module:
        """The network that is measured and exported: the averaged one, ready for evaluation."""
        return (self.average if self.average is not None else self.net).eval()

    def step(self, images: Tensor, targets: Tensor, share: Share = WHOLE) -> tuple[Tensor, Tensor]:
        """One step on a batch, of which images (B, 3, S, S) and targets (B, K) are our share. Returns their logits and
        the loss () of all, tensors that a GPU may still be computing; a NaN loss means no step. Where memory runs out
        the batch is computed in more parts from then on. Raises TooLittleMemory, or GroupLost.
        """
        statistics = [one.clone() for one in self.net.buffers()]
        while (made := self.try_step(images, targets, share, statistics)) is None:
            self.divide(share.least or len(images))
            for now, before in zip(self.net.buffers(), statistics, strict=True):
                now.copy_(before)  # the parts that did fit have moved the batch-norm statistics
        return made

    def try_step(
        self, images: Tensor, targets: Tensor, share: Share, statistics: list[Tensor]
    ) -> tuple[Tensor, Tensor] | None:
        """None where memory ran out, here or in another process of the group."""
        computed = False
        try:
            logits, loss = self.gradients(images, targets, share)
            computed = True
            return (logits, self.move(loss, share, statistics)) if self.group.all(True) else None
        except torch.OutOfMemoryError:  # its frames hold the tensors that fill the memory: below they are gone
            if self.group.size > 1 and (computed or self.synchronized):  # the others wait in a sum
                raise TooLittleMemory(LITTLE_TOGETHER) from None
        self.group.all(False)
        return None

    def gradients(self, images: Tensor, targets: Tensor, share: Share) -> tuple[Tensor, Tensor]:
        """The logits of our share, and its part of the loss over the batch."""
        recipe = self.recipe
        optimize.move_to(self.optimizer, point(recipe, self.steps, self.all_steps))
        self.optimizer.zero_grad(set_to_none=True)
        all_logits, losses = [], []
        for some, wanted in zip(self.in_parts(images, share), self.in_parts(targets, share), strict=True):
            with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
                logits = self.net(some).float()
            loss = F.cross_entropy(logits, wanted, self.label_weights, label_smoothing=recipe.label_smoothing)
            loss = loss * (len(some) / len(images) * share.weight)
            loss.backward()
            all_logits.append(logits.detach())
            losses.append(loss.detach())
        return torch.cat(all_logits), torch.stack(losses).sum()

    def in_parts(self, rows: Tensor, share: Share) -> Sequence[Tensor]:
        """As they are computed one after the other; as many in every process where batch norms wait for one another."""
        return rows.tensor_split(min(self.parts, share.least)) if self.synchronized else rows.chunk(self.parts)

    def move(self, loss: Tensor, share: Share, statistics: list[Tensor]) -> Tensor:
        """Make the step, with the gradients of all; the loss over the batch, NaN where none was made."""
        self.group.sum_gradients(self.net, loss, share.weight)
        done = optimize.step_if(self.optimizer, optimize.clip(self.net, self.recipe))
        self.forget_unless(done, statistics)
        self.steps += 1
        self.follow()
        return torch.where(done, loss, math.nan)

    def forget_unless(self, done: Tensor, statistics: list[Tensor]) -> None:
        """Where no step was made the batch-norm statistics stay as they were too: one infinity would be in them for
        ever, and every evaluation NaN."""
        if self.device.type == "cpu" and done:
            return
        for now, before in zip(self.net.buffers(), statistics, strict=True):
            now.copy_(torch.where(done, now, before))  # a GPU is not waited for

    def divide(self, photos: int) -> None:
        """Compute batches of so many photos in twice as many parts, for memory ran out."""
        self.optimizer.zero_grad(set_to_none=True)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        if photos < 4 * self.parts:  # batch norm finds no variance in one photo
            raise TooLittleMemory(LITTLE)
        self.parts *= 2
        log.warning("The GPU's memory is full: a batch is computed in %d parts from here on.", self.parts)

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
            "skipped_in_a_row": self.skipped_in_a_row,
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
        sums = {"learnt": state["sums"]["seen"]} | state["sums"]
        counted = {"skipped_in_a_row": sums.pop("skipped_in_a_row", 0)} | state  # the sums of earlier releases held it
        self.skipped_in_a_row = counted["skipped_in_a_row"]
        self.sums = Sums(**sums)

    @property
    def learning_rate(self) -> float:
        """Of the last step."""
        return float(self.optimizer.param_groups[0]["lr"])

    def count_all(self, unread: Unread) -> Iterator[Step]:
        """The steps that nobody has looked at, all counted before the first is handed on: the state may be saved at
        each. Raises Diverged."""
        yield from [
            self.count(loss, right, photos, seconds, rate=rate) for loss, right, photos, seconds, rate in unread.read()
        ]
        unread.began = time.monotonic()  # what was done with them is no part of the training

    def count(self, loss: float, right: int, seen: int, seconds: float, *, rate: float | None = None) -> Step:
        """Add a step to the sums; `rate` is its own where it is not the last one. Raises Diverged when too many of them
        were skipped."""
        sums = self.sums
        sums.steps += 1
        sums.seen += seen
        sums.seconds += seconds
        if math.isfinite(loss):
            sums.loss, sums.right, sums.learnt = sums.loss + loss * seen, sums.right + right, sums.learnt + seen
            self.skipped_in_a_row = 0
        else:
            sums.skipped, self.skipped_in_a_row = sums.skipped + 1, self.skipped_in_a_row + 1
        rate = self.learning_rate if rate is None else rate
        if math.isfinite(loss) and sums.steps % -(-self.steps_per_epoch // TRAIL) == 0:
            sums.trail.append([sums.steps, rate, loss])
        many = sums.skipped > max(2, MAX_NONFINITE * self.steps_per_epoch)
        if many or self.skipped_in_a_row == MAX_NONFINITE_IN_A_ROW:
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
            loss=sums.loss / sums.learnt if sums.learnt else math.nan,
            accuracy=sums.right / sums.learnt if sums.learnt else math.nan,
            learning_rate=self.learning_rate,
            skipped_steps=sums.skipped,
            seconds=sums.seconds,
            images_per_second=sums.seen / sums.seconds,
            trail=sums.trail,
        )


def train(training: Training, photos: Source, preprocessing: Preprocessing) -> Iterator[Epoch]:
    """The epochs that are left to do. Raises Diverged."""
    return (one for one in progress(training, photos, preprocessing) if isinstance(one, Epoch))


def progress(training: Training, photos: Source, preprocessing: Preprocessing) -> Iterator[Step | Epoch]:
    """The steps that are left to do, and after the last one of each epoch the epoch. Raises Diverged."""
    recipe, device = training.recipe, training.device
    inputs = photos.inputs(recipe, preprocessing)
    while training.epochs_done < recipe.epochs:
        training.train_mode()
        epoch, first, unread = training.epochs_done, training.sums.steps, Unread()
        for number, (pixels, labels) in enumerate(photos.batches(recipe, epoch, first=first), first):
            draws = generator(recipe.seed, epoch, number)
            # Dropout draws from the global generator, in each process of a group other numbers.
            torch.manual_seed(int(torch.randint(2**62, (), generator=draws)) + training.group.rank)
            share = training.group.share(len(labels))
            # Of a group each process changes its share alone, unless pictures of the whole batch are mixed.
            part = slice(None) if recipe.mixup or recipe.cutmix else share.part
            pixels, labels = pixels[part].to(device, non_blocking=True), labels.to(device, non_blocking=True)
            images = inputs(pixels, PartDraws(draws, part, len(labels)))  # (B, 3, S, S), or features (B, D)
            targets = F.one_hot(labels[part], photos.label_count).float()  # (B, K)
            images, targets = mix(images, targets, recipe, draws)
            images, targets = (images, targets) if part == share.part else (images[share.part], targets[share.part])
            logits, loss = training.step(channels_last(images), targets, share)
            right = training.group.right(logits, labels, share)
            unread.add(loss, right, len(labels), training.learning_rate)
            if len(unread) == training.look_steps:
                yield from training.count_all(unread)
        yield from training.count_all(unread)
        yield training.end_epoch()


def freeze_statistics(net: nn.Module) -> None:
    """Let every batch norm use its stored statistics and leave them alone; its scale and shift still learn."""
    for part in net.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()

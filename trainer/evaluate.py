"""How good a network is on photos it has not trained on: sums over photos, each share with its 95 % interval."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from classifier.preprocess import Preprocessing, preprocess
from classifier.spec import Quality, Rate
from trainer.ingest.record import Record

WILSON_Z = 1.959964  # 95 %
Forward = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) -> (B, K)


def rate(correct: int, n: int) -> Rate:
    """So many of n, with its 95 % Wilson interval (Wilson 1927, doi:10.1080/01621459.1927.10502953)."""
    z2 = WILSON_Z**2
    centre = (correct + z2 / 2) / (n + z2)
    spread = WILSON_Z / (n + z2) * math.sqrt(correct * (n - correct) / n + z2 / 4)
    return Rate(n=n, correct=correct, low=max(centre - spread, 0.0), high=min(centre + spread, 1.0))


def torch_forward(net: nn.Module) -> Forward:
    """The network as a function of numpy arrays, in evaluation mode and channels-last."""
    net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(images).contiguous(memory_format=torch.channels_last)
            return net(batch).float().numpy()

    return forward


def logits_of(
    forward: Forward, records: Sequence[Record], preprocessing: Preprocessing, *, batch_size: int = 64
) -> np.ndarray:
    """float32 (N, K), each photo prepared by the one function that prepares every prediction."""
    parts = []
    for start in range(0, len(records), batch_size):
        images = [preprocess(record.read(), preprocessing) for record in records[start : start + batch_size]]
        parts.append(forward(np.stack(images)))
    return np.concatenate(parts)


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) -> (N, K), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def loss_of(logits: np.ndarray, answers: np.ndarray) -> float:
    """Mean cross-entropy in nats."""
    return float(-log_softmax(logits)[np.arange(len(answers)), answers].mean())


def top(logits: np.ndarray, answers: np.ndarray, k: int) -> Rate:
    """How often the right label is among the k best; of equal logits the earlier label counts as better."""
    own = logits[np.arange(len(answers)), answers][:, None]
    earlier = np.arange(logits.shape[1])[None, :] < answers[:, None]
    better = (logits > own) | ((logits == own) & earlier)
    return rate(int((better.sum(axis=1) < k).sum()), len(answers))


def quality(logits: np.ndarray, answers: np.ndarray, labels: Sequence[str], *, split: str) -> Quality:
    """All that a model's card says of it. `answers` (N,) are the right indices; the logits (N, K) are calibrated, so
    that the loss is that of the probabilities people see."""
    right = logits.argmax(axis=1) == answers
    return Quality(
        split=split,
        n=len(answers),
        top1=top(logits, answers, 1),
        top5=top(logits, answers, 5),
        loss=loss_of(logits, answers),
        per_label={
            label: rate(int(right[answers == number].sum()), int((answers == number).sum()))
            for number, label in enumerate(labels)
            if (answers == number).any()
        },
    )

"""How good a network is on photos it has not trained on: sums over photos, each share with its 95 % interval."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import nn

from classifier.preprocess import Preprocessing, normalize, preprocess
from classifier.quality import TENTHS, Band, Quality, Rate, rate
from trainer.ingest.record import Record

Forward = Callable[[np.ndarray], np.ndarray]  # (B, 3, H, W) -> (B, K)


def torch_forward(net: nn.Module) -> Forward:
    """The network as a function of numpy arrays, in evaluation mode and channels-last, on the device where it is."""
    net = net.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            batch = torch.from_numpy(images).to(next(net.parameters()).device)
            return net(batch.contiguous(memory_format=torch.channels_last)).float().cpu().numpy()

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


def logits_on(
    forward: Forward, pixels: np.ndarray, preprocessing: Preprocessing, *, batch_size: int = 64
) -> np.ndarray:
    """As `logits_of`, of photos that are decoded and squared already: uint8 (N, H, W, 3) -> float32 (N, K)."""
    starts = range(0, len(pixels), batch_size)
    return np.concatenate([forward(normalize(pixels[start : start + batch_size], preprocessing)) for start in starts])


def log_softmax(logits: np.ndarray) -> np.ndarray:
    """(N, K) -> (N, K), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def loss_of(logits: np.ndarray, answers: np.ndarray) -> float:
    """Mean cross-entropy in nats."""
    return float(-log_softmax(logits)[np.arange(len(answers)), answers].mean())


def top(logits: np.ndarray, answers: np.ndarray, k: int) -> Rate:
    """How often the right label is among the k best; of equal logits the earlier label counts as better, and where
    one is NaN nothing was answered."""
    own = logits[np.arange(len(answers)), answers][:, None]
    earlier = np.arange(logits.shape[1])[None, :] < answers[:, None]
    better = (logits > own) | ((logits == own) & earlier)
    told = ~np.isnan(logits).any(axis=1)
    return rate(int(((better.sum(axis=1) < k) & told).sum()), len(answers))


def quality(logits: np.ndarray, answers: np.ndarray, labels: Sequence[str], *, split: str) -> Quality:
    """All that a model's card says of it. `answers` (N,) are the right indices; the logits (N, K) are calibrated, so
    that the loss is that of the probabilities people see."""
    given = logits.argmax(axis=1)
    right = given == answers
    wrong: dict[str, Counter[str]] = {label: Counter() for label in labels}
    for number, instead in zip(answers[~right], given[~right], strict=True):
        wrong[labels[number]][labels[instead]] += 1
    seen = {label: int((answers == number).sum()) for number, label in enumerate(labels)}
    return Quality(
        split=split,
        n=len(answers),
        top1=top(logits, answers, 1),
        top5=top(logits, answers, 5),
        loss=loss_of(logits, answers),
        per_label={label: rate(n - wrong[label].total(), n) for label, n in seen.items() if n},
        confusion={label: dict(wrong[label].most_common()) for label, n in seen.items() if n},
        bands=bands(np.exp(log_softmax(logits)).max(axis=1), right),
    )


def bands(confidence: np.ndarray, right: np.ndarray) -> tuple[Band, ...]:
    """How often answers of about each probability are right: by tenths, without those that no answer gave."""
    tenths = np.floor(confidence * (TENTHS - 1) + 0.5).astype(int)
    masks = [tenths == tenth for tenth in range(TENTHS)]
    return tuple(
        Band(int(mask.sum()), int(right[mask].sum()), float(confidence[mask].mean())) for mask in masks if mask.any()
    )

"""torchmetrics, whose import needs torchvision's operators declared: what our own metrics are compared with."""

from classifier.networks import torchvision_ops

torchvision_ops.declare()

from torchmetrics.classification import (  # noqa: E402
    MulticlassAccuracy,
    MulticlassCalibrationError,
    MulticlassConfusionMatrix,
    MulticlassPrecision,
    MulticlassRecall,
)

__all__ = [
    "MulticlassAccuracy",
    "MulticlassCalibrationError",
    "MulticlassConfusionMatrix",
    "MulticlassPrecision",
    "MulticlassRecall",
]

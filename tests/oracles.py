"""torchmetrics, whose import needs torchvision's operators declared: what our own metrics are compared with."""

from classifier.networks import torchvision_ops

torchvision_ops.declare()

from torchmetrics.classification import MulticlassAccuracy, MulticlassCalibrationError  # noqa: E402

__all__ = ["MulticlassAccuracy", "MulticlassCalibrationError"]

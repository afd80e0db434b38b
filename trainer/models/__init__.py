"""The rows of the trainer: datasets with their photos, runs with their epochs."""

from trainer.models.dataset import Dataset, Photo
from trainer.models.run import EpochMetric, TrainingRun

__all__ = ["Dataset", "EpochMetric", "Photo", "TrainingRun"]

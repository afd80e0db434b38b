"""The rows of the trainer: datasets with their photos, runs with their epochs and devices."""

from trainer.models.dataset import Dataset, Photo
from trainer.models.epoch import EpochMetric
from trainer.models.run import TrainingRun
from trainer.models.seat import Seat

__all__ = ["Dataset", "EpochMetric", "Photo", "Seat", "TrainingRun"]

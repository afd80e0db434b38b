"""The rows of the trainer: datasets with their photos, runs with their epochs."""

from trainer.models.dataset import Dataset, Photo

__all__ = ["Dataset", "Photo"]

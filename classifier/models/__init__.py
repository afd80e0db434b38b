"""The rows of the classifier: versions, and batches of photos that they answer."""

from classifier.models.batch import Batch
from classifier.models.chunk import BatchItem, Chunk
from classifier.models.version import ModelVersion, ModelVersionQuerySet

__all__ = ["Batch", "BatchItem", "Chunk", "ModelVersion", "ModelVersionQuerySet"]

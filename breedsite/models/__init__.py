"""The rows of the site itself."""

from breedsite.models.worker import Worker

__all__ = ["Worker"]

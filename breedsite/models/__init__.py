"""The rows of the site itself."""

from breedsite.models.key import ApiKey
from breedsite.models.receipt import Receipt
from breedsite.models.worker import Worker

__all__ = ["ApiKey", "Receipt", "Worker"]

"""The rows of the site itself."""

from breedsite.models.key import ApiKey
from breedsite.models.receipt import Receipt
from breedsite.models.worker import Holding, Worker

__all__ = ["ApiKey", "Holding", "Receipt", "Worker"]

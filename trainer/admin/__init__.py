"""The trainer in the admin: datasets and runs."""

from trainer.admin import dataset

__all__ = ["dataset"]

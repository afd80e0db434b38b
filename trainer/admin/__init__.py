"""The trainer in the admin: datasets and runs."""

from trainer.admin import dataset, run

__all__ = ["dataset", "run"]

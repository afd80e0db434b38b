"""The site's own settings with shorter pauses, with trainings that are not held back by what else runs here, and with
patience: a third death without an epoch between them is the end of a run, and rightly; here it goes on.
"""

from breedsite.settings import *  # noqa: F403
from breedsite.settings import INSTALLED_APPS
from trainer import child

BACKOFF_SECONDS = [0.2, 0.5, 1.0]
INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.chaos.apps.Patience"]
child.NICE = 0

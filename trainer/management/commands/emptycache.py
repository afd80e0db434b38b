"""manage.py emptycache: remove what frozen backbones saw in photos; the next training computes it anew."""

from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand

from trainer.cache import FeatureCache


class Command(BaseCommand):
    help = "Removes the cached features of frozen backbones. A training under way keeps those that it has read."

    def handle(self, *args: Any, **options: Any) -> None:
        removed = FeatureCache(settings.FEATURES_DIR, max_bytes=settings.FEATURE_CACHE_BYTES).empty()
        self.stdout.write(f"{removed / 1e6:,.1f} MB of features removed from {settings.FEATURES_DIR}.")

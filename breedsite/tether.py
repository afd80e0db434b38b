"""Processes that must not outlive the one that started them: see `classifier.tether`, which plain modules import."""

from classifier.tether import LIBC, die_with

__all__ = ["LIBC", "die_with"]

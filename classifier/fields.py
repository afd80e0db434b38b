"""The objects of `spec.json`, read field by field: each value is checked, or refused by the name of its field."""

import math
import re
from typing import Any

MAX_ITEMS = 100_000


class ArtifactError(ValueError):
    """A model on disk that cannot be used; the sentence says which file and what is wrong with it."""


class Fields:
    """One JSON object while it is read: every getter returns a checked value or names the field it refuses."""

    def __init__(self, value: Any, where: str) -> None:
        if not isinstance(value, dict):
            raise ArtifactError(f"spec.json: {where} must be an object")
        self.value = value
        self.where = where

    def refuse(self, key: str, wanted: str) -> ArtifactError:
        return ArtifactError(f"spec.json: {self.path(key)} must be {wanted}")

    def path(self, key: str) -> str:
        return f"{self.where}.{key}" if self.where else key

    def get(self, key: str) -> Any:
        if key not in self.value:
            raise ArtifactError(f"spec.json: {self.path(key)} is missing")
        return self.value[key]

    def fields(self, key: str) -> "Fields":
        return Fields(self.get(key), self.path(key))

    def items(self, key: str, *, least: int = 0, most: int = MAX_ITEMS) -> list[Any]:
        value = self.get(key)
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise self.refuse(key, f"a list of {least} to {most} values")
        return value

    def text(self, key: str, pattern: re.Pattern[str] | None = None) -> str:
        value = self.get(key)
        if not isinstance(value, str) or not value.strip():
            raise self.refuse(key, "a text that is not empty")
        if pattern is not None and not pattern.fullmatch(value):
            raise self.refuse(key, f"a text of the form {pattern.pattern}")
        return value

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.get(key)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.refuse(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        return self.checked(key, self.get(key), low, high)

    def numbers(self, key: str, count: int) -> tuple[float, ...]:
        values = self.items(key)
        if len(values) != count:
            raise self.refuse(key, f"a list of {count} numbers, one for each label")
        return tuple(self.checked(key, value) for value in values)

    def checked(self, key: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refuse(key, "a number")
        if not math.isfinite(value) or not low <= value <= high:
            raise self.refuse(key, f"a finite number from {low} to {high}")
        return float(value)

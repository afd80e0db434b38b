"""The report of an import, as its page shows it."""

from collections.abc import Callable
from typing import Any

LISTS = {"labels", "unreadable", "conflicts", "crossing", "groups", "outside"}  # of a report, at least


def problems(report: dict[str, Any]) -> list[dict[str, Any]]:
    """The lists of a report that have something in them, each with a title and lines to show."""
    if not report:
        return []

    def joined(pairs: list[list[str]]) -> str:
        return " · ".join(f"{name} ({word})" for name, word in pairs)

    lists: list[tuple[str, dict[str, Any], Callable[[Any], str]]] = [
        ("Cannot be read", report["unreadable"], lambda one: f"{one[0]}: {one[2]}"),
        ("Under two labels", report["conflicts"], joined),
        ("In more than one part", report["crossing"], joined),
        ("The same picture, or nearly", report["groups"], " · ".join),
        ("Without a label in this layout", report["outside"], str),
        ("Not read", report.get("unread", {"count": 0, "listed": []}), str),  # reports of long ago have none
    ]
    return [
        {"title": title, "count": found["count"], "lines": [line(one) for one in found["listed"]]}
        for title, found, line in lists
        if found["count"]
    ]

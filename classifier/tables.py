"""Tables as CSV for spreadsheets, which take a cell that begins like a formula for one and run it."""

import csv
import io
from collections.abc import Iterable, Sequence
from typing import Any

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def as_csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Lines of cells; a text that a spreadsheet would run has an apostrophe before it, as OWASP advises."""
    out = io.StringIO()
    lines = csv.writer(out)
    lines.writerow(header)
    lines.writerows([cell(value) for value in row] for row in rows)
    return out.getvalue()


def cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value

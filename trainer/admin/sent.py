"""What a page's own script sends as JSON."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from django.core.exceptions import BadRequest
from django.http import HttpRequest

Read = TypeVar("Read")
MOST = 2**63 - 1  # a database's largest primary key


def sent(request: HttpRequest, read: Callable[[Any], Read]) -> Read:
    """What `read` finds in the body; raises BadRequest where it is not JSON, or of another shape."""
    try:
        return read(json.loads(request.body))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise BadRequest from error


def number(value: Any) -> int:
    """A primary key, as a number or its digits; raises ValueError, TypeError."""
    key = int(value)
    if not 0 < key <= MOST:
        raise ValueError("no primary key")
    return key

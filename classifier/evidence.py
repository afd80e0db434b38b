"""Where the photos behind a version's figures can be looked at: whoever trains versions here knows, and says it."""

from collections.abc import Callable
from urllib.parse import urlencode

# Each is asked with a version's digest, and answers with the address of a page of its test photos, or with None.
Source = Callable[[str], str | None]
sources: list[Source] = []


def photos_of(digest: str) -> str | None:
    """The address of a page with the test photos of a version, "?" and some of its query included."""
    return next((address for source in sources if (address := source(digest))), None)


def narrowed(address: str | None, **wanted: str) -> str | None:
    """The same page with the photos of a `label`, those with an `answer`, or both."""
    return address and f"{address}&{urlencode(wanted)}"

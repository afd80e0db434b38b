"""What the tests read off a page."""

import re


def link(text: str, rel: str) -> str:
    """Where the page's link of this relation (next, prev) leads; empty where it has none."""
    found = re.search(rf'<a href="([^"]+)" rel="{rel}"', text)
    return found[1].replace("&amp;", "&") if found else ""

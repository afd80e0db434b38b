"""The names of the architectures, without torch: `networks/names.txt` is kept as data for whoever may not import it.

A test compares the file with `classifier.networks.catalogue`.
"""

from pathlib import Path

KNOWN = frozenset((Path(__file__).parent / "networks" / "names.txt").read_text().split())

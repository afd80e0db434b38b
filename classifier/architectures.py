"""The names of the architectures, without torch: `networks/names.txt` is kept as data for whoever may not import it.

A test compares the file with `classifier.networks.catalogue`. After adding an architecture write it anew:

    python -c "from classifier.networks.catalogue import names; print(*sorted(names()), sep=chr(10))" \\
        > classifier/networks/names.txt
"""

from pathlib import Path

KNOWN = frozenset((Path(__file__).parent / "networks" / "names.txt").read_text().split())

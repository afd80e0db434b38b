"""The names of the architectures, and what the best known are made of, without torch: kept as data in `networks/` for
whoever may not import it.

Tests compare the files with `classifier.networks`. After adding an architecture write them anew:

    python -c "from classifier.networks.catalogue import names; print(*sorted(names()), sep=chr(10))" \\
        > classifier/networks/names.txt
    python -m classifier.networks.table --keep > classifier/networks/tables.json
"""

import json
from pathlib import Path
from typing import Any

NETWORKS = Path(__file__).parent / "networks"
KNOWN = frozenset((NETWORKS / "names.txt").read_text().split())


def tables() -> list[dict[str, Any]]:
    """The layer tables of the networks that people know by name: `classifier.networks.table.Table.as_dict` of each."""
    found: list[dict[str, Any]] = json.loads((NETWORKS / "tables.json").read_text())
    return found

"""Model files that must never answer: each a sound model with one thing wrong, most with the digests set right again.

`HOSTILE[name]` damages the model in a folder; `SENTENCES[name]` is what the refusal must say.
"""

from tests.model_files import code, graph, sidecar, weights
from tests.model_files.damage import HOSTILE, SENTENCES, Payload, marker

__all__ = ["HOSTILE", "SENTENCES", "Payload", "code", "graph", "marker", "sidecar", "weights"]

"""Let torchvision be imported beside a build of torch that its compiled operators do not load into.

`import torchvision` ends with "operator torchvision::nms does not exist" when, say, a CPU build of torch stands beside
a CUDA build of torchvision. Networks, their weights and transforms need none of those operators, so declaring the two
that the import looks at is enough. Where the operators load, nothing is declared.
"""

import importlib.util
from functools import cache
from pathlib import Path

import torch


@cache
def declare() -> torch.library.Library | None:
    """Call before the first `import torchvision` (or timm). Returns the declaring library, None where none is needed.

    The cache keeps that library alive: its operators vanish with it.
    """
    if _compiled_operators_load():
        return None
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return library


def _compiled_operators_load() -> bool:
    package = importlib.util.find_spec("torchvision")  # finds without importing
    if package is None or package.origin is None:
        raise ModuleNotFoundError("torchvision is not installed: pip install -r requirements.txt")
    try:
        for file in Path(package.origin).parent.glob("_C*.so"):
            torch.ops.load_library(str(file))
    except OSError:  # an undefined symbol, or a CUDA library that is not here
        return False
    return hasattr(torch.ops.torchvision, "nms")

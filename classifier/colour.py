"""Any picture mode that Pillow knows -> RGB as a person sees it on white paper."""

from __future__ import annotations

import numpy as np
from PIL import Image

WHITE = (255, 255, 255)
TO_8_BIT = np.rint(np.arange(65536) * (255 / 65535)).astype(np.uint8)


def on_white(picture: Image.Image) -> Image.Image:
    """RGB; transparency lies on white, 16-bit grey is scaled (Pillow's own conversion saturates it to white)."""
    if picture.mode == "RGB" and "transparency" not in picture.info:
        return picture
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = _grey_8_bit(picture)
    if "transparency" in picture.info:
        picture = _keyed(picture)
    elif picture.mode in ("LA", "La", "PA", "RGBa"):
        picture = picture.convert("RGBA")
    if picture.mode != "RGBA":
        return picture.convert("RGB")
    paper = Image.new("RGB", picture.size, WHITE)
    paper.paste(picture, mask=picture.getchannel("A"))
    return paper


def _grey_8_bit(picture: Image.Image) -> Image.Image:
    """16-bit grey -> 8-bit, its transparent level (one of 65,536) turned into an alpha channel."""
    levels = np.asarray(picture)
    if levels.dtype != np.uint16:  # modes I and F
        levels = np.clip(levels, 0, 65535).astype(np.uint16)
    grey = Image.fromarray(TO_8_BIT[levels])
    if "transparency" in picture.info:
        opaque = np.where(levels == picture.info["transparency"], 0, 255).astype(np.uint8)
        return Image.merge("LA", (grey, Image.fromarray(opaque))).convert("RGBA")
    return grey


def _keyed(picture: Image.Image) -> Image.Image:
    """A picture with one transparent colour, or with an alpha for each palette entry -> RGBA."""
    key = picture.info["transparency"]
    if picture.mode == "RGB" and max(key) > 255:  # of a 16-bit file, whose pixels Pillow has cut to 8
        picture.info["transparency"] = tuple(level >> 8 for level in key)
    elif picture.mode == "L" and key > 255:
        picture.info["transparency"] = key & 255
    return picture.convert("RGBA")

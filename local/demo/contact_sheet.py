"""Draw a contact sheet: pictures with captions, as one image."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

COLUMNS = 6
TILE = 224
_GAP = 18
_MARGIN = 40
_HEAD = 112
_CAPTION = 70

_GROUND = (16, 19, 24)
_CARD = (27, 31, 39)
_BRIGHT = (236, 239, 244)
_DIM = (139, 148, 163)
_LIVELY = (104, 211, 145)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """One picture and its caption."""

    pixels: NDArray[np.generic]
    source: str
    archive: str
    member: str
    lag: float
    """Seconds from the archive's arrival on the server to its rows being readable."""


def draw(tiles: Sequence[Tile], title: str, subtitle: str) -> Image.Image:
    """Return an image of the tiles in rows under a title."""
    rows = -(-len(tiles) // COLUMNS)
    width = 2 * _MARGIN + COLUMNS * TILE + (COLUMNS - 1) * _GAP
    height = _HEAD + rows * (TILE + _CAPTION + _GAP) - _GAP + _MARGIN
    contact_sheet = Image.new("RGB", (width, max(height, _HEAD)), _GROUND)
    pen = ImageDraw.Draw(contact_sheet)
    pen.text((_MARGIN, 30), title, _BRIGHT, ImageFont.load_default(30))
    pen.text((_MARGIN, 70), subtitle, _DIM, ImageFont.load_default(16))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, COLUMNS)
        _place(contact_sheet, pen, tile, _MARGIN + column * (TILE + _GAP), _HEAD + row * (TILE + _CAPTION + _GAP))
    return contact_sheet


def _place(contact_sheet: Image.Image, pen: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    pen.rounded_rectangle((left, top, left + TILE - 1, top + TILE + _CAPTION - 1), 8, _CARD)
    picture = Image.fromarray(np.asarray(tile.pixels, dtype=np.uint8)).convert("RGB").resize((TILE, TILE))
    mask = Image.new("L", (TILE, TILE), 0)
    # Rounded corners only at the top, because the caption follows below.
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, TILE - 1, TILE + 8), 8, 255)
    contact_sheet.paste(picture, (left, top), mask)
    lines = (
        (tile.member.rsplit("/", 1)[-1], _BRIGHT, 14),
        (f"{tile.source}  {tile.archive}", _DIM, 12),
        (f"readable {tile.lag:.1f} s after arrival", _LIVELY, 12),
    )
    y = top + TILE + 7
    for text, colour, size in lines:
        font = ImageFont.load_default(size)
        pen.text((left + 10, y), _fitting(_plain(text), font, TILE - 20), colour, font)
        y += size + 7


def _plain(text: str) -> str:
    """Return a text in ASCII without accents, because Pillow's own font has few other letters."""
    bare = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in bare if not unicodedata.combining(letter)).encode("ascii", "replace").decode()


def _fitting(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Shorten a text in the middle until it fits, because names differ at both ends."""
    kept = text
    while font.getlength(kept) > width and len(kept) > 4:
        cut = text if kept is text else kept.replace("…", "", 1)
        half = (len(cut) - 1) // 2
        kept = cut[:half] + "…" + cut[len(cut) - half :]
    return kept

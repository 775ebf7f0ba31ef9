"""Pictures in rows with headings and a legend go in; one sheet of them comes out, as PNG and as SVG."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from html import escape

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from results.pictures.colours import Rgb, hatched_over, hex_of

PANEL = 192  # pixels of a panel's width
GAP, HEAD, TEXT = 8, 46, 13
_INK: Rgb = (22, 33, 42)
_GREY: Rgb = (190, 195, 198)


@dataclass(frozen=True, eq=False)
class Figure:
    """Panels in rows, a heading (one or two lines) a column, and the classes with their colours; None is hatched.

    All panels of a row have one size; it is (width, height) = (panel, heights[row]). head: what headings are given.
    """

    headings: tuple[str, ...]
    panels: tuple[tuple[Pillow.Image, ...], ...]
    legend: tuple[tuple[str, Rgb | None], ...]
    panel: int = PANEL
    head: int = HEAD

    @property
    def heights(self) -> list[int]:
        return [row[0].height for row in self.panels]

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the whole."""
        width = len(self.headings) * (self.panel + GAP) + GAP
        return width, self.legend_top + (TEXT + 8) * len(self.legend_lines()) + GAP

    @property
    def legend_top(self) -> int:
        return self.head + sum(height + GAP for height in self.heights) + GAP

    def corners(self) -> list[tuple[int, int, Pillow.Image]]:
        """(left, top, panel) of every panel."""
        placed, top = [], self.head
        for row in self.panels:
            placed += [(GAP + n * (self.panel + GAP), top, panel) for n, panel in enumerate(row)]
            top += row[0].height + GAP
        return placed

    def legend_lines(self) -> list[list[tuple[int, str, Rgb | None]]]:
        """Lines of (left, name, colour), broken where the figure ends."""
        lines: list[list[tuple[int, str, Rgb | None]]] = [[]]
        left = GAP
        for name, rgb in self.legend:
            width = round(_font().getlength(name)) + TEXT + 24
            if lines[-1] and left + width > len(self.headings) * (self.panel + GAP):
                lines.append([])
                left = GAP
            lines[-1].append((left, name, rgb))
            left += width
        return lines

    def heading_lines(self) -> list[tuple[int, int, str]]:
        """(left, top, text) of every line of the headings; what does not fit is cut."""
        placed = []
        for n, heading in enumerate(self.headings):
            lines = heading.split("\n")[:2]
            for place, line in enumerate(lines):
                top = self.head - (len(lines) - place) * (TEXT + 5)
                placed.append((GAP + n * (self.panel + GAP), top, _cut(line, self.panel)))
        return placed


def to_png(figure: Figure) -> bytes:
    """The figure as PNG."""
    stream = io.BytesIO()
    as_picture(figure).save(stream, "PNG")
    return stream.getvalue()


def as_picture(figure: Figure) -> Pillow.Image:
    """The figure as one picture."""
    sheet = Pillow.new("RGB", figure.size, (255, 255, 255))
    draw = ImageDraw.Draw(sheet)
    for left, top, text in figure.heading_lines():
        draw.text((left, top), text, _INK, _font())
    for left, top, panel in figure.corners():
        sheet.paste(panel, (left, top))
    for place, line in enumerate(figure.legend_lines()):
        top = figure.legend_top + place * (TEXT + 8)
        for left, name, rgb in line:
            sheet.paste(_swatch(rgb), (left, top + 2))
            draw.text((left + TEXT + 6, top), name, _INK, _font())
    return sheet


def to_svg(figure: Figure) -> str:
    """The figure as SVG, panels embedded, words as words."""
    width, height = figure.size
    style = f'font-family="Helvetica, Arial, sans-serif" font-size="{TEXT}" fill="{hex_of(_INK)}"'
    box = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    sheet = f'<rect width="{width}" height="{height}" fill="#fff"/>'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {box} {style}>', sheet]
    parts += [f'<text x="{x}" y="{y + TEXT}">{escape(text)}</text>' for x, y, text in figure.heading_lines()]
    for left, top, panel in figure.corners():
        size = f'x="{left}" y="{top}" width="{panel.width}" height="{panel.height}"'
        parts.append(f'<image {size} href="data:image/png;base64,{_base64(panel)}"/>')
    for place, line in enumerate(figure.legend_lines()):
        top = figure.legend_top + place * (TEXT + 8)
        for left, name, rgb in line:
            box = f'x="{left}" y="{top + 2}" width="{TEXT}" height="{TEXT}"'
            hatched = f'<image {box} href="data:image/png;base64,{_base64(_swatch(None))}"/>'
            parts.append(f'<rect {box} fill="{hex_of(rgb)}"/>' if rgb else hatched)
            parts.append(f'<text x="{left + TEXT + 6}" y="{top + TEXT}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _swatch(rgb: Rgb | None) -> Pillow.Image:
    plain = Pillow.new("RGB", (TEXT, TEXT), rgb or _GREY)
    return plain if rgb else hatched_over(plain, np.ones((TEXT, TEXT), bool))


def _base64(panel: Pillow.Image) -> str:
    stream = io.BytesIO()
    panel.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(TEXT)


def _cut(text: str, width: int) -> str:
    """Text that fits over a panel."""
    while text and _font().getlength(text) > width:
        text = text.removesuffix("…")[:-1] + "…"
    return text

"""Drawings as SVG that stands in a page and takes its colours and letters.

Matplotlib draws with colours that stand for the page's own, so that one picture serves light and
dark. No picture holds a text of the data. This module knows nothing about what is drawn.
"""

import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from spanwise.reporting.pages import Html, safe

INK, SOFT, LINE, SHEET, ONE, OTHER = (f"#{number:02x}0000" for number in range(1, 7))
"""Colours of the page by their use: letters, lesser letters, rules, ground, first line, second."""

_OF_PAGE = {
    INK: "--ink",
    SOFT: "--soft",
    LINE: "--line",
    SHEET: "--sheet",
    ONE: "--act",
    OTHER: "--other",
}
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": SOFT,
    "axes.edgecolor": LINE,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": SOFT,
    "ytick.labelcolor": SOFT,
    "lines.linewidth": 2,
    "legend.frameon": False,
}
_NOT_IN_A_PAGE = re.compile(
    r"^.*?(?=<svg )|<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", re.S
)


def draw(paint: Callable[[Axes], None], *, key: str, title: str, describes: str) -> Html:
    """A picture with its title.

    Args:
        paint: draws into axes.
        key: of this picture among those of the page.
        title: what it shows, and in which unit.
        describes: what one who does not see it should know.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own are
        mpl.rcParams.update({**_STYLE, "svg.hashsalt": key})
        figure = Figure(figsize=(4.6, 3.1), layout="constrained")
        FigureCanvasSVG(figure)
        paint(figure.add_subplot())
        written = StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
    return Html(
        f"<figure><figcaption>{safe(title)}</figcaption>"
        f"{_of_page(written.getvalue(), key, describes)}</figure>"
    )


def _of_page(svg: str, key: str, describes: str) -> str:
    """Leave out what a page has already, and names that two pictures might share."""
    svg = _NOT_IN_A_PAGE.sub("", svg).replace("xlink:href", "href")
    named = set(re.findall(r'(?:href="|url\()#([^")]+)', svg))
    svg = re.sub(r' id="([^"]*)"', lambda m: f' id="{key}-{m[1]}"' if m[1] in named else "", svg)
    svg = re.sub(r'(href="|url\()#', rf"\1#{key}-", svg)
    for colour, name in _OF_PAGE.items():
        svg = svg.replace(colour, f"var({name})")
    size = re.search(r'viewBox="[^"]*"', svg)
    head = f'<svg {size[0] if size else ""} role="img" aria-label="{safe(describes)}">'
    return re.sub(r"^<svg [^>]*>", lambda _: head, svg).strip()

"""The pictures of an audit.

This module knows nothing about texts: it draws how often each length occurs.
"""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from spanwise.reporting.pages import Html
from spanwise.reporting.pictures import ONE, OTHER, draw

_BARS = 40
_MOST = 0.995  # share of the lengths that get bars of their own


def draw_lengths(
    counts: Mapping[int, int], *, key: str, title: str, limit: tuple[str, int] | None = None
) -> Html:
    """How long texts are. The few that are much longer than all others share the last bar.

    Args:
        counts: length → how many have it.
        key: of the picture.
        title: what is measured, and in which unit.
        limit: name and value of the setting that lengths are seen against.
    """
    lengths, number = np.array(sorted(counts.items()), dtype=np.int64).reshape(-1, 2).T
    most = lengths[np.searchsorted(np.cumsum(number), _MOST * number.sum())] if len(lengths) else 1
    end = int(max(most, limit[1] if limit else 0)) + 1
    edges = np.linspace(0, end, min(_BARS, end) + 1)
    bars, _ = np.histogram(np.minimum(lengths, end - 1), edges, weights=number)

    def paint(axes: Axes) -> None:
        axes.stairs(bars, edges, fill=True, color=ONE, alpha=0.75)
        axes.set(xlim=(0, end * 1.02))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        if limit is not None:
            name, value = limit
            axes.axvline(value, color=OTHER, linestyle="--")
            axes.set_xlabel(f"dashed: {name} = {value}")

    longest = f"the longest {lengths[-1]:,}" if len(lengths) else "none"
    return draw(paint, key=key, title=title, describes=f"{title}: {longest}")


def draw_windows(counts: Mapping[int, int]) -> Html:
    """How many windows questions have."""
    numbers, questions = np.array(sorted(counts.items()), dtype=np.int64).reshape(-1, 2).T

    def paint(axes: Axes) -> None:
        axes.bar(numbers, questions, color=ONE, alpha=0.75, width=0.8)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(visible=False, axis="x")
        axes.set(xlim=(0.4, max(numbers.max(), 4) + 0.6))

    told = ", ".join(f"{q:,} have {n}" for n, q in list(counts.items())[:5])
    return draw(paint, key="windows", title="Windows per question", describes=f"Questions: {told}")

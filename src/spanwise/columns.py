"""Arrays that callers give, looked at before they are counted with."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spanwise.errors import DataError, Problem


def column(
    name: str,
    values: ArrayLike,
    *,
    length: int | None = None,
    lowest: float = -np.inf,
    highest: float = np.inf,
) -> NDArray[np.float64]:
    """`values` as a (Q,) array, or a DataError that names each value which cannot be used."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not array.size or length not in {None, array.size}:
        wanted = "at least one value" if length is None else f"{length} values, as in the first"
        message = f"the shape is {array.shape}; give a flat array of {wanted}"
        raise DataError([Problem(file=name, place="", id=None, message=message)])
    usable = np.isfinite(array) & (array >= lowest) & (array <= highest)
    message = (
        f"is not a finite number between {lowest:g} and {highest:g}; compute it anew, or leave its"
        " question out"
    )
    if not usable.all():
        raise DataError(
            Problem(file=name, place=f"[{index}]", id=None, message=f"{array[index]} {message}")
            for index in np.flatnonzero(~usable)
        )
    return array

"""The one table type: a frozen set of equal-length, read-only NumPy columns.

One row in live operation, a million in simulation, and the same code for both.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, Any, Self, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure

I8 = Annotated[NDArray[np.int8], np.int8]
I32 = Annotated[NDArray[np.int32], np.int32]
I64 = Annotated[NDArray[np.int64], np.int64]
F64 = Annotated[NDArray[np.float64], np.float64]


_DTYPES: dict[str, dict[str, np.dtype[Any]]] = {}


def _dtypes(table: type) -> dict[str, np.dtype[Any]]:
    name = f"{table.__module__}.{table.__qualname__}"
    if name not in _DTYPES:
        hints = get_type_hints(table, include_extras=True)
        _DTYPES[name] = {field.name: np.dtype(get_args(hints[field.name])[1]) for field in fields(table)}
    return _DTYPES[name]


def _column(value: object, dtype: np.dtype[Any], name: str) -> NDArray[Any]:
    array = np.asarray(value)
    ensure(array.ndim == 1, f"column {name}: expected one dimension, found {array.ndim}")
    if array.dtype != dtype:
        if array.size == 0:
            array = array.astype(dtype)
        elif array.dtype.kind in "iub" and dtype.kind == "i":
            limits = np.iinfo(dtype)
            low, high = int(array.min()), int(array.max())
            ensure(
                limits.min <= low and high <= limits.max,
                f"column {name}: values {low} to {high} do not fit into {dtype}",
            )
            array = array.astype(dtype)
        else:
            ensure(
                array.dtype.kind == dtype.kind or (array.dtype.kind in "iu" and dtype.kind == "f"),
                f"column {name}: {array.dtype} given, {dtype} expected",
            )
            array = array.astype(dtype)
    # A read-only view, so that a table never freezes the caller's own array.
    view = np.ascontiguousarray(array).view()
    view.flags.writeable = False
    return view


@dataclass(frozen=True, eq=False)
class Columns:
    """Equal-length, read-only columns. Subclasses only declare fields; rows are never changed in place.

    Construction checks dtype and length and refuses values that do not fit; floats never become integers.
    """

    def __post_init__(self) -> None:
        length = -1
        for name, dtype in _dtypes(type(self)).items():
            column = _column(getattr(self, name), dtype, name)
            ensure(
                length in (-1, column.size),
                f"{type(self).__name__}.{name}: {column.size} rows, the columns before have {length}",
            )
            length = column.size
            object.__setattr__(self, name, column)

    def __len__(self) -> int:
        return int(getattr(self, fields(self)[0].name).size)

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(np.array_equal(mine, theirs) for mine, theirs in zip(self.arrays(), other.arrays(), strict=True))

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """Return the columns in the order of their declaration."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def take(self, index: NDArray[Any] | slice) -> Self:
        """Return the rows of a mask, an integer index or a slice."""
        return type(self)(*(column[index] for column in self.arrays()))

    def replace(self, **columns: object) -> Self:
        """Return a copy with some columns exchanged."""
        names = [field.name for field in fields(self)]
        unknown = set(columns) - set(names)
        ensure(not unknown, f"{type(self).__name__} has no column {', '.join(sorted(unknown))}")
        return type(self)(*(columns.get(name, getattr(self, name)) for name in names))

    @classmethod
    def empty(cls) -> Self:
        """Return the table without rows."""
        return cls(*(np.empty(0, dtype) for dtype in _dtypes(cls).values()))

    @classmethod
    def concat(cls, *parts: Self) -> Self:
        """Return the rows of all parts, one after the other."""
        filled = [part for part in parts if len(part)]
        if len(filled) <= 1:  # nothing to copy
            return filled[0] if filled else cls.empty()
        return cls(*(np.concatenate(columns) for columns in zip(*(part.arrays() for part in filled), strict=True)))

    def to_lists(self) -> dict[str, list[Any]]:
        """Return plain lists by column name, for the journal and for JSON."""
        return {field.name: getattr(self, field.name).tolist() for field in fields(self)}

    @classmethod
    def from_lists(cls, columns: dict[str, list[Any]]) -> Self:
        """Reverse `to_lists`; missing or surplus columns are refused."""
        names = list(_dtypes(cls))
        ensure(set(columns) == set(names), f"{cls.__name__}: columns {sorted(columns)} given, {names} expected")
        return cls(*(np.asarray(columns[name]) for name in names))

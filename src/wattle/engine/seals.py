"""Seals: one chained SHA-256 for each interval over everything that was metered, ordered, traded and booked in it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import Columns
from wattle.core.messages import Tariff
from wattle.engine.settlement import Block, Settlement


def leaves(block: Block, settlement: Settlement, cost: NDArray[np.int64], tariff: Tariff) -> list[bytes]:
    """Return the hash of the content of each interval: readings, orders, trades, prices, transfers, cost per account.

    The utility's prices count also where nobody met them. The head of each content counts the rows of each table, so no
    row can move from one table to another.
    """
    count = block.stop - block.first
    width = 8 * block.energy.shape[1]
    energy, money = _bytes(block.energy), _bytes(cost)
    cuts = [
        _cut(table, block.first, count)
        for table in (block.orders, settlement.local, settlement.prices, settlement.transfers)
    ]
    retail, feed_in = (column.tolist() for column in tariff.at(np.arange(block.first, block.stop, dtype=np.int32)))
    found = []
    for time in range(count):
        head = [block.first + time, retail[time], feed_in[time]]
        parts: list[Any] = [energy[time * width : (time + 1) * width], money[time * width : (time + 1) * width]]
        for edges, columns in cuts:
            start, stop = edges[time], edges[time + 1]
            head.append(stop - start)
            if stop > start:
                parts += [column[start:stop] for column in columns]
        parts.append(str(head).encode())
        found.append(hashlib.sha256(b"".join(parts)).digest())
    return found


def chain(head: bytes, contents: list[bytes]) -> list[bytes]:
    """Return the seals: each the hash of the seal before and of its own content."""
    found = []
    for content in contents:
        head = hashlib.sha256(head + content).digest()
        found.append(head)
    return found


def fingerprint(value: Any) -> bytes:
    """Return a hash of tables, arrays, numbers and texts, also inside tuples, lists and mappings."""
    digest = hashlib.sha256(type(value).__name__.encode())
    if isinstance(value, Columns):
        value = value.arrays()
    if isinstance(value, np.ndarray):
        digest.update(f"{value.dtype}{value.shape}".encode())
        digest.update(np.ascontiguousarray(value).data)
    elif isinstance(value, Mapping):
        for key in sorted(value):
            digest.update(fingerprint(key) + fingerprint(value[key]))
    elif isinstance(value, (tuple, list)):
        for part in value:
            digest.update(fingerprint(part))
    else:
        digest.update(repr(value).encode())
    return digest.digest()


def _cut(table: Columns, first: int, count: int) -> tuple[list[int], list[Any]]:
    """Return the first row of each interval and the columns but the interval itself, in order of interval."""
    interval: NDArray[np.int32] = table.interval  # type: ignore[attr-defined]
    if interval.size and (interval[1:] < interval[:-1]).any():
        table = table.take(np.argsort(interval, kind="stable"))
        interval = table.interval  # type: ignore[attr-defined]
    edges = np.searchsorted(interval, np.arange(first, first + count + 1)).tolist()
    return edges, [column.data for column in table.arrays() if column is not interval]


def _bytes(rows: NDArray[np.int64]) -> memoryview:
    return np.ascontiguousarray(rows, np.int64).reshape(-1).view(np.uint8).data

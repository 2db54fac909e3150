"""Chance that belongs to a member: a rule draws one number, and all lots of its gate follow from that.

So a member's lot hangs neither on the others in the book, nor on the ids that orders have got, nor on how many
intervals are cleared at once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.tables import Orders


def drawn(book: Orders, salt: int, use: int = 0) -> NDArray[np.uint64]:
    """Return a number by chance for each order, the same for all of a member's orders in a zone and interval.

    `salt` comes from the rule's source of chance; numbers for different `use` have nothing to do with each other.
    """
    word = mixed(np.full(len(book), salt, np.uint64))
    for column in (np.full(len(book), use), book.interval, book.zone, book.participant):
        word = mixed(word ^ column.astype(np.uint64))
    return word


def mixed(word: NDArray[np.uint64] | I64) -> NDArray[np.uint64]:
    """Return the numbers [N] after one step of SplitMix64 (Steele, Lea, Flood 2014).

    >>> [hex(number) for number in mixed(np.array([0, 0x9E3779B97F4A7C15], np.uint64)).tolist()]
    ['0xe220a8397b1dcdaf', '0x6e789e6aa1b965f4']
    """
    word = word.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return word ^ (word >> np.uint64(31))

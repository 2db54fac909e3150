"""From cleared orders straight to trades: who sells to whom, in one pass over the filled rows.

Within a group (one zone in one interval) the first buyer takes from the first seller until one of them is done, the
north-west corner rule of `segments.pair_groups`. At one price for all the order of ids serves; where each pair has its
own price, the dearest bid meets the cheapest offer. Filled rows are first laid side by side in that order, each with
all that a trade needs of it. Price levels are counted where the range allows, so nothing is sorted and nothing is
fetched from far away.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import ANY_PRICE, Orders, Prices, Trades
from wattle.market.clear_book import rank_rows

LOTS, ID, WHO, PRICE = 0, 1, 2, 3
"""Columns of a listed row; 32 bytes, so that two of them share a cache line."""

SUM_MAX = 2.0**62
"""Sums of lots x ticks below this fit into 64 bits, with room for the rounding of the floats that count them."""


def trades_at_one_price(book: Orders, starts: I64, fill: I64, price: I64) -> Trades:
    """Return the trades of each group at the price of the group, paired in the order of ids; `book` is grouped."""
    return _trades(book, starts, fill, np.zeros((0, 5), np.int64), price, 0)[0]


def trades_pair_by_pair(
    book: Orders, starts: I64, fill: I64, bounds: NDArray[np.int64], k_percent: int
) -> tuple[Trades, Prices] | tuple[Trades, None]:
    """Return trades at offer + k (bid - offer), the dearest bid with the cheapest offer, and the mean price of a group.

    A price taker trades at the bound of his group, `bounds` [G, 5] of `clear_groups`. Means are weighted by energy and
    rounded down to a tick; they are None where a sum does not fit into 64 bits.
    """
    trades, sums, size = _trades(book, starts, fill, bounds, np.zeros(0, np.int64), k_percent)
    if size.max(initial=0.0) >= SUM_MAX:
        return trades, None
    traded = np.flatnonzero(sums[:, 1])
    head = starts[:-1][traded]
    return trades, Prices(book.interval[head], book.zone[head], sums[traded, 0] // sums[traded, 1])


def _trades(
    book: Orders, starts: I64, fill: I64, bounds: NDArray[np.int64], price: I64, k_percent: int
) -> tuple[Trades, NDArray[np.int64], NDArray[np.float64]]:
    room, groups = int(np.count_nonzero(fill)), starts.size - 1
    short, long = np.empty((4, room), np.int32), np.empty((4, room), np.int64)
    sums, size = np.zeros((groups, 2), np.int64), np.zeros(groups)
    # NumPy asks for large pages here and a kernel would not. The last row takes what is not filled, to save a branch.
    listed = np.empty((min(room, int(np.diff(starts).max(initial=0))) + 1, 4), np.int64)
    pairs = pair_orders(
        starts, book.interval, book.zone, book.participant, book.id, book.side, book.limit, fill,
        bounds, price, k_percent, listed, short, long, sums, size,
    )  # fmt: skip
    interval, zone, buyer, seller = short[:, :pairs]
    buy_order, sell_order, quantity, paid = long[:, :pairs]
    return Trades(interval, zone, buyer, seller, buy_order, sell_order, quantity, paid, paid), sums, size


@kernel("w82 i i i i i")
def _put(listed: Any, place: Any, lots: Any, order_id: Any, who: Any, price: Any) -> Any:
    listed[place, LOTS] = lots
    listed[place, ID] = order_id
    listed[place, WHO] = who
    listed[place, PRICE] = price


@kernel("i i r4 r8 r1 r8 i w82 i i")
def _list_by_id(
    first: Any, stop: Any, participant: Any, ids: Any, side: Any, fill: Any, price: Any, listed: Any,
    bids: Any, count: Any,
) -> Any:  # fmt: skip
    """List the filled rows of a group in the order of ids: bids from 0 on, offers from `bids` on."""
    bid, ask = np.int64(0), bids
    for row in range(first, stop):
        bought = np.int64(fill[row] > 0 and side[row] > 0)
        sold = np.int64(fill[row] > 0) - bought
        place = bought * bid + sold * ask + (1 - bought - sold) * count
        _put(listed, place, fill[row], ids[row], participant[row], price)
        bid += bought
        ask += sold


@kernel("i i r4 r8 r1 r8 r8 w82 i i i")
def _list_counted(
    first: Any, stop: Any, participant: Any, ids: Any, side: Any, limit: Any, fill: Any, listed: Any,
    low: Any, high: Any, count: Any,
) -> Any:  # fmt: skip
    """List the filled rows by price and id: bids from the dearest on, offers from the cheapest on; levels counted."""
    width = high - low + 1
    last = 2 * width  # bids downwards, offers upwards, then all that is not filled
    heads = np.zeros(last + 2, np.int64)
    for row in range(first, stop):
        level = high - limit[row] if side[row] > 0 else width + limit[row] - low
        heads[(level if fill[row] > 0 else last) + 1] += 1
    for level in range(last):
        heads[level + 1] += heads[level]
    for row in range(first, stop):
        filled = np.int64(fill[row] > 0)
        level = high - limit[row] if side[row] > 0 else width + limit[row] - low
        level = level if fill[row] > 0 else last
        _put(listed, heads[level], fill[row], ids[row], participant[row], limit[row])
        heads[level] += filled


@kernel("i i r4 r8 r1 r8 r8 w82 i i i i i w8 w8 w8 w8")
def _list_ranked(
    first: Any, stop: Any, participant: Any, ids: Any, side: Any, limit: Any, fill: Any, listed: Any,
    bids: Any, low: Any, high: Any, bid_of_taker: Any, ask_of_taker: Any,
    keys: Any, rank: Any, rows: Any, spare: Any,
) -> Any:  # fmt: skip
    """List the filled rows as `_list_counted` does, for few orders or a wide range of prices, price takers too."""
    count = np.int64(0)
    for row in range(first, stop):
        if fill[row] > 0:
            rows[count] = row
            keys[count] = high - limit[row] if side[row] > 0 else limit[row] - low
            count += 1
    rank_rows(keys, rank, spare, count)
    bid, ask = np.int64(0), bids
    for place in range(count):
        row = rows[rank[place]]
        if side[row] > 0:
            price = bid_of_taker if limit[row] == ANY_PRICE else limit[row]
            _put(listed, bid, fill[row], ids[row], participant[row], price)
            bid += 1
        else:
            price = ask_of_taker if limit[row] == -ANY_PRICE else limit[row]
            _put(listed, ask, fill[row], ids[row], participant[row], price)
            ask += 1


@kernel("r82 i i i i i i w42 w82 w8 wf")
def _pair_listed(
    listed: Any, bids: Any, count: Any, interval: Any, zone: Any, k_percent: Any, pairs: Any,
    short: Any, long: Any, sums: Any, size: Any,
) -> Any:  # fmt: skip
    """Pair the listed bids 0 ... bids - 1 with the offers behind them; return the number of pairs so far."""
    bid, ask, paid, moved_all, high = np.int64(-1), bids - 1, np.int64(0), np.int64(0), np.float64(0)
    want, have = np.int64(0), np.int64(0)
    while True:
        if want == 0:
            bid += 1
            if bid == bids:
                break
            want = listed[bid, LOTS]
        if have == 0:
            ask += 1
            if ask == count:
                break
            have = listed[ask, LOTS]
        moved = min(want, have)
        low = listed[ask, PRICE]
        gap = listed[bid, PRICE] - low
        price = low + gap * k_percent // 100 if gap > 0 else low
        short[0, pairs] = interval
        short[1, pairs] = zone
        short[2, pairs] = listed[bid, WHO]
        short[3, pairs] = listed[ask, WHO]
        long[0, pairs] = listed[bid, ID]
        long[1, pairs] = listed[ask, ID]
        long[2, pairs] = moved
        long[3, pairs] = price
        paid += moved * price
        high += np.float64(moved) * np.float64(abs(price))
        moved_all += moved
        pairs += 1
        want -= moved
        have -= moved
    sums[0], sums[1], size[0] = paid, moved_all, high
    return pairs


@kernel("r8 r4 r4 r4 r8 r1 r8 r8 r82 r8 i w82 w42 w82 w82 wf")
def pair_orders(
    starts: Any, interval: Any, zone: Any, participant: Any, ids: Any, side: Any, limit: Any, fill: Any,
    bounds: Any, one_price: Any, k_percent: Any, listed: Any, short: Any, long: Any, sums: Any, size: Any,
) -> Any:  # fmt: skip
    """Write the trades of all groups: `short` and `long` hold the columns of `Trades`; return how many there are.

    `listed` has a row for each filled row of the largest group, and one more. With a price for each group in
    `one_price` rows are paired in the order of ids, else by merit. `sums` [G, 2] gets lots x ticks and lots, `size` [G]
    the sum of the amounts of the former in floats.
    """
    pairs, largest = np.int64(0), listed.shape[0]
    spare = np.empty((4, largest if one_price.size == 0 else 0), np.int64)
    for group in range(starts.size - 1):
        first, stop = starts[group], starts[group + 1]
        low, high, bids, count = np.int64(ANY_PRICE), np.int64(-ANY_PRICE), np.int64(0), np.int64(0)
        for row in range(first, stop):
            filled = np.int64(fill[row] > 0)  # fills are mixed, so no branches
            low = min(low, limit[row] * filled + low * (1 - filled))
            high = max(high, limit[row] * filled + high * (1 - filled))
            count += filled
            bids += filled & np.int64(side[row] > 0)
        if count == 0:
            continue
        if one_price.size:
            _list_by_id(first, stop, participant, ids, side, fill, one_price[group], listed, bids, count)
        elif count > 48 and high - low < 1 << 18 and high - low < max(np.int64(4096), 8 * count):
            _list_counted(first, stop, participant, ids, side, limit, fill, listed, low, high, count)
        else:
            _list_ranked(
                first, stop, participant, ids, side, limit, fill, listed, bids, low, high,
                bounds[group, 2], bounds[group, 1], spare[0], spare[1], spare[2], spare[3],
            )  # fmt: skip
        pairs = _pair_listed(
            listed, bids, count, interval[first], zone[first], k_percent, pairs, short, long,
            sums[group], size[group : group + 1],
        )  # fmt: skip
    return pairs

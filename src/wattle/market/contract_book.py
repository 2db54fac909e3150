"""Potential contracts of an opening book, and signed contracts as trades.

A contract is one block of energy between a named buyer and a named seller in one interval and zone. A member in one
interval and zone is a *place* of the network: his contracts with sellers lie upstream of it, those with buyers
downstream. Places get colours so that the two sides of a contract never have the same one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.columns import I64
from wattle.core.compiled import kernel
from wattle.core.tables import ANYONE, BUY, Orders, Trades
from wattle.market.auction_double import trades_of
from wattle.market.negotiation_pairs import rows_in

Network = dict[str, Any]


def potential_contracts(orders: Orders, pairs: dict[str, Any], block_lots: int, contracts_max: int) -> Network:
    """Return the contracts that the pairs of an opening book could sign; empty arrays if no limits meet.

    Pairs [P]: interval, zone, buyer, seller, bid, ask, and the place of each side. Contracts [C]: `pair` and `size` in
    lots. Places [V]: `group` (interval and zone) and `colour`. A pair has as many whole blocks as both sides have lots,
    at most `contracts_max`; a pair with less than a block has one contract of what it has.
    """
    pairs = {name: column[pairs["bid"] >= pairs["ask"]] for name, column in pairs.items()}
    most = block_lots * contracts_max
    lots = np.minimum(*(_lots(orders, pairs, side, most) for side in (BUY, -BUY)))
    blocks = np.clip(lots // block_lots, 1, contracts_max)
    pair = np.repeat(np.arange(lots.size), blocks)
    network: Network = {
        **{name: pairs[name] for name in ("interval", "zone", "buyer", "seller", "bid", "ask")},
        "pair": pair,
        "size": np.minimum(lots, block_lots)[pair],
    }
    return network | _places(network)


def _lots(orders: Orders, pairs: dict[str, Any], side: int, most: int) -> I64:
    """Return the lots that one side of each pair has for this partner, counted up to `most` an order."""
    mine = orders.take(orders.side == side)
    lots = np.minimum(mine.quantity, most)
    open_to_all = mine.partner == ANYONE
    named = np.flatnonzero(~open_to_all)
    edge = rows_in(mine.take(named), pairs) if pairs["buyer"].size else np.full(named.size, -1)
    found = np.bincount(edge[edge >= 0], lots[named][edge >= 0], pairs["buyer"].size)
    who = pairs["buyer"] if side == BUY else pairs["seller"]
    columns = (
        (pairs["interval"], mine.interval[open_to_all]),
        (pairs["zone"], mine.zone[open_to_all]),
        (who, mine.participant[open_to_all]),
    )
    place, theirs = _ranked(columns)
    total = np.bincount(theirs, lots[open_to_all], int(max(place.max(initial=-1), theirs.max(initial=-1))) + 1)
    whole: I64 = (found + total[place]).astype(np.int64)
    return whole


def _ranked(columns: Any) -> tuple[I64, I64]:
    """Return one number for each row of two tables; equal rows have equal numbers, in the order of the columns."""
    size = columns[0][0].size
    key = np.zeros(size + columns[0][1].size, np.int64)
    for one, other in columns:
        values, rank = np.unique(np.concatenate((one, other)), return_inverse=True)
        key = np.unique(key * max(1, values.size) + rank, return_inverse=True)[1]
    return key[:size], key[size:]


def _places(network: Network) -> Network:
    """Return the places of the network: where each side of a pair stands, in which group, and with which colour."""
    buyer, seller = _ranked([(network[name], network[name]) for name in ("interval", "zone")] + [
        (network["buyer"], network["seller"])
    ])  # fmt: skip
    group = _ranked([(network[name], network[name]) for name in ("interval", "zone")])[0]
    count = int(max(buyer.max(initial=-1), seller.max(initial=-1))) + 1
    group_of = np.zeros(count, np.int64)
    group_of[buyer], group_of[seller] = group, group
    ends, others = np.concatenate((buyer, seller)), np.concatenate((seller, buyer))
    order = np.argsort(ends, kind="stable")
    starts = np.searchsorted(ends[order], np.arange(count + 1))
    buys, sells = np.bincount(buyer, minlength=count) > 0, np.bincount(seller, minlength=count) > 0
    # Who stands on one side only comes first, so that a market of buyers and sellers needs two colours.
    first = np.argsort(np.where(buys & sells, 2, np.where(buys, 0, 1)), kind="stable")
    colour = np.full(count, -1, np.int64)
    _colour(first, starts.astype(np.int64), others[order].astype(np.int64), np.full(count + 1, -1, np.int64), colour)
    return {"buyer_place": buyer, "seller_place": seller, "group": group_of, "colour": colour}


@kernel("r8 r8 r8 w8 w8")
def _colour(first: Any, starts: Any, others: Any, seen: Any, colour: Any) -> Any:
    """Give each place, in the order of `first`, the lowest colour that no neighbour has; `seen` is scratch."""
    for number in range(first.size):
        place = first[number]
        for row in range(starts[place], starts[place + 1]):
            if colour[others[row]] >= 0:
                seen[colour[others[row]]] = place
        free = np.int64(0)
        while seen[free] == place:
            free += 1
        colour[place] = free


def signed(orders: Orders, network: Network, contract: I64, price: I64) -> Trades:
    """Return the contracts [S] that both sides sign at their prices [S], as trades.

    An order stands in for contracts with the partner that it names, up to its lots and within its limit. A contract is
    signed whole or not at all; cheaper contracts of a pair come first.
    """
    edge = rows_in(orders, network) if contract.size else np.full(len(orders), -1)
    known = np.flatnonzero(edge >= 0)
    known = known[np.lexsort((orders.id[known], edge[known]))]
    book, at = orders.take(known), edge[known]
    rank = np.lexsort((contract, price, network["pair"][contract]))
    contract, price = contract[rank], price[rank]
    pair = network["pair"][contract]
    buys = np.flatnonzero(book.side == BUY)
    sells = np.flatnonzero(book.side != BUY)
    spans = [np.searchsorted(at[rows], pair, end) for rows in (buys, sells) for end in ("left", "right")]
    left = book.quantity.copy()
    room = contract.size + len(book)
    buy, sell, lots, number = (np.empty(room, np.int64) for _ in range(4))
    found = _sign(
        *(span.astype(np.int64) for span in spans), buys, sells, np.ascontiguousarray(book.limit), left,
        network["size"][contract], price, buy, sell, lots, number,
    )  # fmt: skip
    trades = trades_of(book, buy[:found], sell[:found], lots[:found], price[number[:found]])
    order = np.lexsort((trades.buy_price, trades.sell_order, trades.buy_order, trades.zone, trades.interval))
    return trades.take(order)


@kernel("r8 r8 r8 r8 r8 r8 r8 w8 r8 r8 w8 w8 w8 w8")
def _sign(
    buy_first: Any, buy_stop: Any, sell_first: Any, sell_stop: Any, buys: Any, sells: Any, limit: Any, left: Any,
    size: Any, price: Any, buy: Any, sell: Any, lots: Any, number: Any,
) -> Any:  # fmt: skip
    """Fill contract by contract from the orders of its pair; returns the number of trades."""
    found = 0
    for row in range(size.size):
        bought, sold = np.int64(0), np.int64(0)
        for place in range(buy_first[row], buy_stop[row]):
            if limit[buys[place]] >= price[row]:
                bought = min(size[row], bought + left[buys[place]])
        for place in range(sell_first[row], sell_stop[row]):
            if limit[sells[place]] <= price[row]:
                sold = min(size[row], sold + left[sells[place]])
        if bought < size[row] or sold < size[row]:
            continue
        open_lots = size[row]
        mine, theirs = buy_first[row], sell_first[row]
        while open_lots > 0:
            if left[buys[mine]] == 0 or limit[buys[mine]] < price[row]:
                mine += 1
            elif left[sells[theirs]] == 0 or limit[sells[theirs]] > price[row]:
                theirs += 1
            else:
                moved = min(open_lots, left[buys[mine]], left[sells[theirs]])
                buy[found], sell[found], lots[found], number[found] = buys[mine], sells[theirs], moved, row
                left[buys[mine]] -= moved
                left[sells[theirs]] -= moved
                open_lots -= moved
                found += 1
    return found


def lots_by_pair(orders: Orders, edge: I64, network: Network, side: int) -> tuple[I64, I64]:
    """Return for each pair the lots that this side wants, and the furthest limit that it names.

    `edge` is the pair of each order, as `rows_in` finds it.
    """
    count = network["buyer"].size
    mine = np.flatnonzero((edge >= 0) & (orders.side == side))
    lots, limit = np.zeros(count, np.int64), np.full(count, -side * (1 << 62), np.int64)
    most = int(network["size"].max(initial=0)) * (int(np.bincount(network["pair"]).max(initial=0)) + 1)
    np.add.at(lots, edge[mine], np.minimum(orders.quantity[mine], most))
    (np.maximum if side == BUY else np.minimum).at(limit, edge[mine], orders.limit[mine])
    return lots, limit


def rank_in_pair(pair: I64, price: I64, contract: I64) -> NDArray[np.int64]:
    """Return the place of each contract among those of its pair by price; of equals the lowest number comes first."""
    order = np.lexsort((contract, price, pair))
    ranked = pair[order]
    start = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
    place = np.arange(pair.size) - np.repeat(start, np.diff(np.concatenate((start, [pair.size]))))
    rank = np.empty(pair.size, np.int64)
    rank[order] = place
    return rank

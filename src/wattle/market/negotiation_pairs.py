"""Who may trade with whom, and what the grid and the members' preferences add to the price of a pair."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import Reject
from wattle.core.columns import I32, I64
from wattle.core.messages import Context
from wattle.core.segments import grouped
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, Orders, Preferences, Profiles


def opening(orders: Orders, context: Context, partners_max: int) -> dict[str, Any] | Reject:
    """Return the pairs of an opening book with the best limit of each side and the range of limits around them.

    Columns: interval, zone, buyer, seller, bid, ask, low, high. A taker's limit is the utility's price, and without a
    tariff the far end of what others name; a group in which nobody names a price has no pairs. If that leaves nothing
    of a book in which somebody could trade, it is refused; so is a book with both sides in which no two are partners.
    """
    book, starts = grouped(orders)
    limit = book.limit
    if context.tariff is not None and len(book):
        retail, feed_in = context.tariff.at(book.interval)
        limit = np.where(limit == ANY_PRICE, retail, np.where(limit == -ANY_PRICE, feed_in, limit))
    parts, unpriced, apart = [], False, False
    for group in range(starts.size - 1):
        rows = slice(int(starts[group]), int(starts[group + 1]))
        here, worth = book.take(rows), limit[rows]
        named = np.abs(worth) < ANY_PRICE
        if not named.any():
            unpriced |= bool((here.side == BUY).any() and (here.side != BUY).any())
            continue
        low, high = int(worth[named].min()), int(worth[named].max())
        found = _pairs(here, np.clip(worth, low, high), partners_max)
        if found is not None:
            size = found[0].size
            ends = [np.full(size, value, np.int64) for value in (here.interval[0], here.zone[0], low, high)]
            parts.append((*ends[:2], *found, *ends[2:]))
        else:
            apart |= bool((here.side == BUY).any() and (here.side != BUY).any())
    if not parts and (unpriced or apart):
        return Reject.NO_PRICE if unpriced else Reject.NO_PARTNERS
    names = ("interval", "zone", "buyer", "seller", "bid", "ask", "low", "high")
    columns = zip(*parts, strict=True) if parts else [(np.zeros(0, np.int64),)] * len(names)
    return {name: np.concatenate(column) for name, column in zip(names, columns, strict=True)}


def _pairs(book: Orders, worth: I64, partners_max: int) -> tuple[I64, I64, I64, I64] | None:
    """Return buyer, seller, best bid and best ask of each pair of one group in order of buyer and seller."""
    bid, ask = np.flatnonzero(book.side == BUY), np.flatnonzero(book.side != BUY)
    if bid.size == 0 or ask.size == 0:
        return None
    who_bids, who_asks = book.participant[bid].astype(np.int64), book.participant[ask].astype(np.int64)
    wants, gives = book.partner[bid][:, None], book.partner[ask][None, :]
    named = (wants == who_asks[None, :]) | (gives == who_bids[:, None])
    near = named | _neighbours(who_bids, who_asks, partners_max)
    agrees = ((wants == ANYONE) | (wants == who_asks[None, :])) & ((gives == ANYONE) | (gives == who_bids[:, None]))
    row, column = np.nonzero(agrees & near & (who_bids[:, None] != who_asks[None, :]))
    if row.size == 0:
        return None
    base = int(max(who_bids.max(), who_asks.max())) + 1
    key, place = np.unique(who_bids[row] * base + who_asks[column], return_inverse=True)
    best_bid, best_ask = np.full(key.size, -ANY_PRICE), np.full(key.size, ANY_PRICE)
    np.maximum.at(best_bid, place, worth[bid[row]])
    np.minimum.at(best_ask, place, worth[ask[column]])
    return key // base, key % base, best_bid, best_ask


def _neighbours(who_bids: I64, who_asks: I64, partners_max: int) -> NDArray[np.bool_]:
    """Tell for bids and offers whether their owners are asked about each other: all, or a band evenly spread."""
    buyers, buyer = np.unique(who_bids, return_inverse=True)
    sellers, seller = np.unique(who_asks, return_inverse=True)
    ahead = (seller[None, :] - (buyer * sellers.size // buyers.size)[:, None]) % sellers.size < partners_max
    back = (buyer[:, None] - (seller * buyers.size // sellers.size)[None, :]) % buyers.size < partners_max
    both: NDArray[np.bool_] = ahead & back
    return both


def rows_in(orders: Orders, pairs: dict[str, Any]) -> I64:
    """Return the pair that each answer belongs to, -1 where there is none."""
    buys = orders.side == BUY
    buyer = np.where(buys, orders.participant, orders.partner).astype(np.int64)
    seller = np.where(buys, orders.partner, orders.participant).astype(np.int64)
    columns = ((pairs["interval"], orders.interval), (pairs["zone"], orders.zone), (pairs["buyer"], buyer))
    key, mine = np.zeros(pairs["buyer"].size, np.int64), np.zeros(len(orders), np.int64)
    # One number for each place, made of ranks, so that it cannot overflow.
    for theirs, given in (*columns, (pairs["seller"], seller)):
        values = np.unique(theirs)
        rank = np.minimum(np.searchsorted(values, given), values.size - 1)
        known = (values[rank] == given) & (mine >= 0)
        whole, place = np.unique(key * values.size + np.searchsorted(values, theirs), return_inverse=True)
        wanted = mine * values.size + rank
        spot = np.minimum(np.searchsorted(whole, wanted), whole.size - 1)
        mine = np.where(known & (whole[spot] == wanted), spot, -1)
        key = place.astype(np.int64)
    order = np.argsort(key, kind="stable")
    found: I64 = np.where(mine >= 0, order[np.maximum(mine, 0)], -1).astype(np.int64)
    return found


def premiums(preferences: Preferences, who: I64 | I32, partner: I64 | I32) -> I64:
    """Return what each of `who` would pay on top for trading with the partner beside him, in ticks; 0 if not said."""
    found = np.zeros(np.shape(who), np.int64)
    if len(preferences) == 0 or found.size == 0:
        return found
    base = int(max(preferences.partner.max(), np.max(partner))) + 1
    key = preferences.participant.astype(np.int64) * base + preferences.partner
    order = np.argsort(key, kind="stable")
    wanted = np.asarray(who, np.int64) * base + partner
    place = np.minimum(np.searchsorted(key[order], wanted), key.size - 1)
    said = key[order][place] == wanted
    found[said] = preferences.premium[order[place[said]]]
    return found


def pair_charges(
    rule: str, ticks: int, buyer: I64, seller: I64, profiles: Profiles, area_m: int = 1000
) -> I64 | Reject:
    """Return the grid charge of each pair in ticks per lot: "unique", "distance" (per km) or "zonal" (per border).

    Borders are those between squares of `area_m` metres. Without a place of each member the book is refused.
    """
    if rule == "unique" or ticks == 0:
        return np.full(buyer.size, ticks, np.int64)
    places = []
    for who in (buyer, seller):
        order = np.argsort(profiles.participant, kind="stable")
        known = profiles.participant[order]
        at = np.minimum(np.searchsorted(known, who), max(known.size - 1, 0))
        if known.size == 0 or (known[at] != who).any():
            return Reject.UNKNOWN_MEMBER
        places.append((profiles.east_m[order[at]], profiles.north_m[order[at]]))
    (east, north), (other_east, other_north) = places
    if rule == "zonal":
        borders = np.abs(east // area_m - other_east // area_m) + np.abs(north // area_m - other_north // area_m)
        crossed: I64 = ticks * borders
        return crossed
    across, along = (east - other_east).astype(np.float64), (north - other_north).astype(np.float64)
    return np.rint(np.sqrt(across * across + along * along) * ticks / 1000).astype(np.int64)

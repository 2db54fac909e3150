"""Settlement as postings, and the difference of two settlements, against sums in plain Python."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.core.tables import COMMUNITY_FUND, MARKET_OPERATOR, UTILITY, Trades, Transfers
from wattle.ledger.accounts import BOOKS, CODES, ENERGY, LOCAL, MONEY, NETWORK, SHARING, SPREAD, UTILITY_ENERGY
from wattle.ledger.postings import Postings, balances
from wattle.ledger.settle import difference, settle, settle_all

ACCOUNTS = 13
who = st.sampled_from((UTILITY, MARKET_OPERATOR, 8, 9, 10, 12))
price = st.integers(-500, 500)
trade_rows = st.tuples(st.integers(0, 3), who, who, st.integers(1, 1 << 30), price, st.none() | price)
transfer_rows = st.tuples(st.integers(0, 3), who, who, st.integers(0, 10**9), st.sampled_from((NETWORK, SHARING)))
trade_lists, transfer_lists = st.lists(trade_rows, max_size=9), st.lists(transfer_rows, max_size=6)


def trades_of(rows):
    time, buyer, seller, lots, buy, sell = (np.array(column, object) for column in columns(rows, 6))
    sell = np.where(np.equal(sell, None), buy, sell) if len(rows) else sell
    nought, none = np.zeros(len(rows), np.int64), np.full(len(rows), -1)
    whole = (np.array(column, np.int64) for column in (time, nought, buyer, seller, none, none, lots, buy, sell))
    return Trades(*whole)


def transfers_of(rows):
    return Transfers(*(np.array(column, np.int64) for column in columns(rows, 5)))


def columns(rows, width):
    return list(zip(*rows, strict=True)) if rows else [()] * width


def booked(trades, transfers):
    """What each account receives and pays, by interval, book, code and account; zeros left out."""
    sums = Counter()
    for time, _, buyer, seller, _, _, lots, buy, sell in zip(*(c.tolist() for c in trades.arrays()), strict=True):
        code = UTILITY_ENERGY if UTILITY in (buyer, seller) else LOCAL
        for book, amount in ((ENERGY, lots), (MONEY, lots * sell)):
            sums[time, book, code, buyer] += amount
            sums[time, book, code, seller] -= amount
        sums[time, MONEY, SPREAD, buyer] += lots * (buy - sell)
        sums[time, MONEY, SPREAD, MARKET_OPERATOR] -= lots * (buy - sell)
    for time, payer, payee, amount, code in zip(*(c.tolist() for c in transfers.arrays()), strict=True):
        sums[time, MONEY, code, payer] += amount
        sums[time, MONEY, code, payee] -= amount
    return without_zeros(sums)


def summed(postings):
    sums = Counter()
    for time, debit, credit, amount, book, code in zip(*(c.tolist() for c in postings.arrays()), strict=True):
        sums[time, book, code, debit] += amount
        sums[time, book, code, credit] -= amount
    return without_zeros(sums)


def without_zeros(sums):
    return {key: value for key, value in sums.items() if value}


@given(trade_lists, transfer_lists)
def test_postings_are_what_was_traded_and_transferred(trade_rows, transfer_rows):
    trades, transfers = trades_of(trade_rows), transfers_of(transfer_rows)
    postings = settle(trades, transfers)
    assert summed(postings) == booked(trades, transfers)
    found = balances(postings, ACCOUNTS)
    assert found.shape == (BOOKS, ACCOUNTS)
    assert not found.sum(axis=1).any()


@given(trade_lists)
def test_without_transfers_buyers_pay_and_sellers_get_their_own_price(rows):
    trades = trades_of(rows)
    money = balances(settle(trades, Transfers.empty()), ACCOUNTS)[MONEY]
    for account in range(ACCOUNTS):
        paid = (trades.quantity * trades.buy_price)[trades.buyer == account].sum()
        got = (trades.quantity * trades.sell_price)[trades.seller == account].sum()
        gap = (trades.quantity * (trades.buy_price - trades.sell_price)).sum() if account == MARKET_OPERATOR else 0
        assert money[account] == paid - got - gap


@given(trade_lists, transfer_lists, trade_lists, transfer_lists)
def test_several_lots_are_posted_like_one(rows, moves, more_rows, more_moves):
    one, other = (trades_of(rows), transfers_of(moves)), (trades_of(more_rows), transfers_of(more_moves))
    both = settle_all(one, other)
    assert Postings.concat(settle(*one), settle(*other)) == both
    assert len(settle_all()) == 0


@given(trade_lists, transfer_lists, trade_lists, transfer_lists)
def test_a_difference_turns_the_old_into_the_new(old_rows, old_moves, new_rows, new_moves):
    old = settle(trades_of(old_rows), transfers_of(old_moves))
    new = settle(trades_of(new_rows), transfers_of(new_moves))
    change = difference(old, new, ACCOUNTS)
    before, after = summed(old), summed(new)
    expected = {key: after.get(key, 0) - before.get(key, 0) for key in {*before, *after}}
    assert summed(change) == without_zeros(expected)
    assert (change.amount > 0).all()
    assert not balances(change, ACCOUNTS).sum(axis=1).any()
    named = set(zip(*(c.tolist() for c in (change.interval, change.book, change.code, change.debit)), strict=True))
    named |= set(zip(*(c.tolist() for c in (change.interval, change.book, change.code, change.credit)), strict=True))
    assert named == set(without_zeros(expected))  # an account whose result is the same sees nothing


@given(trade_lists, transfer_lists)
def test_no_change_no_difference(rows, moves):
    postings = settle(trades_of(rows), transfers_of(moves))
    assert len(difference(postings, postings.take(slice(None, None, -1)), ACCOUNTS)) == 0


@pytest.mark.parametrize(("buy", "sell"), [(1 << 35, 0), (0, 1 << 35), (-(1 << 35), 0), (0, -(1 << 35))])
def test_a_sum_that_does_not_fit_is_refused(buy, sell):
    with pytest.raises(InvariantError, match="does not fit into 64 bits"):
        settle(trades_of([(0, 8, 9, 1 << 30, buy, sell)]), Transfers.empty())


def test_the_gap_of_two_prices_is_the_operators():
    postings = settle(trades_of([(0, 8, 9, 10, 30, 20), (0, 8, 9, 10, 20, 30)]), Transfers.empty())
    assert summed(postings)[0, MONEY, LOCAL, 8] == 500
    assert (0, MONEY, SPREAD, MARKET_OPERATOR) not in summed(postings)  # 100 earned, 100 paid
    first = settle(trades_of([(0, 8, 9, 10, 30, 20)]), Transfers.empty())
    assert balances(first, ACCOUNTS)[MONEY, [MARKET_OPERATOR, 8, 9]].tolist() == [-100, 300, -200]


def test_money_without_energy_moves_in_the_money_book_only():
    postings = settle(Trades.empty(), transfers_of([(0, 8, COMMUNITY_FUND, 70, SHARING)]))
    found = balances(postings, ACCOUNTS)
    assert found[ENERGY].tolist() == [0] * ACCOUNTS
    assert (found[MONEY, 8], found[MONEY, COMMUNITY_FUND]) == (70, -70)
    assert CODES > SHARING

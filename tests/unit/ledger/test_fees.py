"""Charges on local and on utility energy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from wattle.core.checks import InvariantError
from wattle.core.messages import Tariff
from wattle.core.tables import GRID_OPERATOR, MARKET_OPERATOR, STATE, UTILITY, Trades, Transfers
from wattle.ledger.accounts import LEVY, NETWORK, PLATFORM
from wattle.ledger.fees import LOCAL_KWH, UTILITY_KWH, Charge, charges_on, net_tariff, ticks_on

CHARGES = (
    Charge("grid, local", LOCAL_KWH, 40, GRID_OPERATOR, NETWORK),
    Charge("platform", LOCAL_KWH, 5, MARKET_OPERATOR, PLATFORM),
    Charge("grid", UTILITY_KWH, 90, GRID_OPERATOR, NETWORK),
    Charge("levy", UTILITY_KWH, 20, STATE, LEVY),
)
who = st.sampled_from((UTILITY, 8, 9, 10))
rows = st.lists(st.tuples(st.integers(0, 3), who, who, st.integers(1, 999)), max_size=8)


def trades_of(table):
    time, buyer, seller, lots = (
        np.array(column, np.int64) for column in (zip(*table, strict=True) if table else [()] * 4)
    )
    nought = np.zeros(len(table), np.int64)
    return Trades(time, nought, buyer, seller, nought - 1, nought - 1, lots, nought, nought)


@given(rows)
def test_each_trade_pays_the_charges_of_its_kind(table):
    expected = []
    for charge in CHARGES:
        for time, buyer, seller, lots in table:
            local = UTILITY not in (buyer, seller)
            if (charge.on == LOCAL_KWH and local) or (charge.on == UTILITY_KWH and seller == UTILITY):
                expected.append((time, buyer, charge.payee, lots * charge.ticks, charge.code))
    found = charges_on(trades_of(table), CHARGES)
    assert list(zip(*(column.tolist() for column in found.arrays()), strict=True)) == expected


def test_energy_fed_into_the_grid_pays_nothing():
    assert len(charges_on(trades_of([(0, UTILITY, 8, 5)]), CHARGES)) == 0
    assert charges_on(trades_of([(0, 9, 8, 5)]), ()) == Transfers.empty()


@given(st.integers(-100, 500), st.integers(0, 300))
def test_rules_see_the_tariff_net_of_local_charges(feed_in, gap):
    net = net_tariff(Tariff.flat(feed_in + gap, feed_in), CHARGES)
    assert ticks_on(CHARGES, LOCAL_KWH) == 45
    assert ticks_on(CHARGES, UTILITY_KWH) == 110
    assert net.feed_in.tolist() == [feed_in]
    assert net.retail.tolist() == [max(feed_in, feed_in + gap - 45)]


@pytest.mark.parametrize(("on", "ticks"), [("per-month", 1), (LOCAL_KWH, -1)])
def test_an_impossible_charge_is_refused(on, ticks):
    with pytest.raises(InvariantError, match="charge odd"):
        Charge("odd", on, ticks, GRID_OPERATOR, NETWORK)

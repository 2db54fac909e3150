"""Whose orders are whose, also where numbers are as large as they may be."""

import numpy as np

from wattle.core.tables import BUY, SELL
from wattle.market.own_orders import without_own_answers
from wattle.testing.generators import book_of


def test_players_do_not_answer_themselves_in_their_zone_and_interval():
    book = book_of([(8, SELL, 1, 10), (8, BUY, 1, 90), (8, BUY, 1, 80), (8, BUY, 1, 70), (9, BUY, 1, 60)])
    book = book.replace(interval=[0, 0, 1, 0, 0], zone=[0, 0, 0, 1, 0])
    assert without_own_answers(book, SELL).limit.tolist() == [10, 80, 70, 60]
    assert without_own_answers(book, BUY).limit.tolist() == [90, 80, 70, 60]


def test_the_largest_numbers_are_told_apart():
    most = (1 << 31) - 1
    book = book_of([(8, SELL, 1, 10), (9, BUY, 1, 90), (8, BUY, 1, 80)])
    for column in ("interval", "zone", "participant"):
        others = {name: np.full(3, most) for name in ("interval", "zone", "participant") if name != column}
        far = book.replace(**others, **{column: [most, most - 4, most]})
        assert without_own_answers(far, SELL).limit.tolist() == [10, 90]

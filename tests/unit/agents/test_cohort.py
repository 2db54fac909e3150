"""Members with fixed limits: opening orders, and truthful answers to quotes, against a plain search."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from wattle.agents.cohort import FixedLimits, View
from wattle.core.messages import Call
from wattle.core.tables import ANY_PRICE, ANYONE, BUY, SELL, Quotes
from wattle.testing.generators import Case
from wattle.testing.trial import answers

MEMBERS = np.array([8, 9, 11, 14], np.int32)
BUYS, SELLS = np.array([250, 120, ANY_PRICE, 90]), np.array([80, 160, -ANY_PRICE, 40])
COHORT = FixedLimits(MEMBERS, BUYS, SELLS)


def quotes_of(rows):
    columns = np.array(rows, np.int64).reshape(-1, 4).T
    return Quotes(columns[0], np.zeros(columns.shape[1], np.int32), columns[1], columns[2], columns[3])


who = st.sampled_from([ANYONE, 8, 9, 11, 14, 17])
some_quotes = st.lists(st.tuples(st.integers(3, 4), who, who, st.integers(0, 300)), max_size=8).map(quotes_of)
nets = st.lists(st.integers(-5, 5), min_size=8, max_size=8).map(lambda row: np.array(row).reshape(2, 4))


@given(quotes=some_quotes, net=nets)
def test_answers_are_those_of_members_who_tell_the_truth(quotes, net):
    call = Call("p", 3, 5)
    book = COHORT.respond(call, View(net))
    book = book.replace(id=np.arange(len(book)))
    # The plain twin would let a member answer an open quote of his own; here he does not.
    own = (quotes.buyer == quotes.seller) & (quotes.buyer != ANYONE)
    own |= ((quotes.buyer == ANYONE) & np.isin(quotes.seller, MEMBERS)) | (
        (quotes.seller == ANYONE) & np.isin(quotes.buyer, MEMBERS)
    )
    quotes = quotes.take(~own)
    expected = answers(Case("drawn", book, None, 0), quotes, first_id=0)
    found = COHORT.respond(Call("p", 3, 5, 1, quotes), View(net))
    assert found.take(np.lexsort((found.participant, found.interval))).replace(id=expected.id) == expected.take(
        np.lexsort((expected.participant, expected.interval))
    )


def test_the_best_quote_within_the_limit_is_taken_whole():
    net = View(np.array([[7, -4, 0, 0]]))
    asked = quotes_of([(0, 8, 9, 260), (0, 8, 14, 240), (0, ANYONE, 14, 245), (0, 11, 9, 200), (0, 8, 9, 150)])
    found = COHORT.respond(Call("p", 0, 1, 1, asked), net)
    assert found.participant.tolist() == [8, 9]
    assert found.side.tolist() == [BUY, SELL]
    assert found.quantity.tolist() == [7, 4]
    assert found.partner.tolist() == [9, 8]  # the cheapest for the buyer; the dearest within his limit for the seller
    assert found.limit.tolist() == [250, 160]


def test_no_quote_no_order():
    net = View(np.array([[7, -4, 3, 0]]))
    assert len(COHORT.respond(Call("p", 0, 1, 1, Quotes.empty()), net)) == 0
    assert len(COHORT.respond(Call("p", 0, 1, 1, quotes_of([(0, 8, 9, 251)])), net)) == 1  # only the seller agrees
    assert len(COHORT.respond(Call("p", 0, 1), net)) == 3

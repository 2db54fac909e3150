"""Auction of shared storage: owners of batteries offer capacity, controllers of shared facilities bid for it.

After W. Tushar, B. Chai, C. Yuen, S. Huang, D. Smith, H. V. Poor and Z. Yang, Energy storage sharing in smart grid: a
modified auction-based approach, IEEE Transactions on Smart Grid 7(3), 2016, arXiv:1512.07700. A lot is a unit of
storage capacity for the length of an interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from wattle.core.checks import Reject, ensure
from wattle.core.messages import Clearing, Context, Memory
from wattle.core.tables import Orders
from wattle.market.auction_one_sided import called
from wattle.market.auction_truthful import without_marginal
from wattle.market.mechanism import BUDGET_BALANCED, CAPACITY, EXACT, INDIVIDUALLY_RATIONAL, SEPARABLE, mechanism


@mechanism(
    "storage-auction",
    claims={BUDGET_BALANCED, INDIVIDUALLY_RATIONAL, SEPARABLE, EXACT},
    source="Tushar et al. 2016, IEEE Transactions on Smart Grid 7(3); "
    "Tushar et al. 2020, IEEE Transactions on Smart Grid 11(4), reference 32",
    bids=CAPACITY,
)
@dataclass(frozen=True)
class StorageAuction:
    """Shared storage goes from the cheapest owners to the best bids; the pair at the border only sets the prices.

    The paper's determination, payment and allocation rules: owners are ranked by reservation price, controllers by
    bid. Where the curves cross, the last owner and the last controller do not take part; his reservation price is what
    the other owners get, and that bid is what the other controllers pay. The market operator keeps the gap.

    If more capacity is left than is wanted, the owners bear the burden: `burden` "equal" takes the same number of lots
    from each (at most what he offers), "capacity" takes in proportion to what each offers. If less is left than is
    wanted, the controllers bear it in the same way. The paper also names a burden in proportion to the reservation
    price; it is left out, because a lower report would then lower the reporter's burden.

    No owner or controller with one order gains by a false price. As in the paper this is about prices: by holding back
    capacity one may move the border, so the rule does not claim to be truthful in all that can be said. The paper lets
    a leader choose one price between the two; here there is no leader, and each side has its own.
    """

    burden: str = "equal"

    def __post_init__(self) -> None:
        ensure(self.burden in ("equal", "capacity"), f'burden is {self.burden!r}, expected "equal" or "capacity"')

    def step(self, memory: Memory | None, orders: Orders, context: Context) -> tuple[None, Clearing]:
        """Allot the capacity of every zone and interval."""
        call = called(orders, context)
        if isinstance(call, Reject):
            return None, Clearing.refuse(call)
        return None, without_marginal(call, equal=self.burden == "equal")

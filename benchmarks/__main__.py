"""Measure every speed that wattle promises and print it beside a reference of the same run.

Usage: python -m benchmarks [--quick]
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks import coalitions
from benchmarks.negotiation import negotiations
from benchmarks.order_book import order_book
from wattle.core.messages import Context
from wattle.core.tables import FIRST_MEMBER, Orders
from wattle.market.auction_double import PayAsBidAuction, UniformAuction

LEVELS = 4_096  # price ticks of the generated books
ROW = tuple[str, str, str, str, str]


def book(orders: int, auctions: int = 1, seed: int = 1) -> Orders:
    """Return a random book of `orders` in all, spread evenly over `auctions` intervals."""
    chance = np.random.default_rng(seed)
    return Orders(
        id=np.arange(orders),
        participant=chance.integers(FIRST_MEMBER, FIRST_MEMBER + 1_000, orders, dtype=np.int32),
        zone=np.zeros(orders, np.int32),
        interval=np.repeat(np.arange(auctions, dtype=np.int32), orders // auctions),
        side=np.where(chance.random(orders) < 0.5, np.int8(1), np.int8(-1)),
        quantity=chance.integers(1, 2_000, orders),
        limit=chance.integers(0, LEVELS, orders),
        partner=np.full(orders, -1, np.int32),
    )


def best(work: Callable[[], object], times: int = 3) -> float:
    """Return the shortest of several runs in seconds; the first, which compiles, does not count."""
    work()
    found = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def auctions(quick: bool) -> list[ROW]:
    """One large auction, many small ones, and the cost of an order from small to large; CPU seconds."""
    rows: list[ROW] = []
    for rule, what in ((UniformAuction(), "uniform"), (PayAsBidAuction(), "pay-as-bid")):
        rows += _auctions_of(rule, what, quick)
    return rows


def _auctions_of(rule: UniformAuction | PayAsBidAuction, what: str, quick: bool) -> list[ROW]:
    context, rows, costs = Context(), [], {}
    for orders in (10**4, 10**5, 10**6) if quick else (10**4, 10**5, 10**6, 10**7):
        one = book(orders)
        times = 9 if orders >= 10**6 else 20
        found = []
        for _ in range(times + 1):  # in turns, so that a busy machine slows both down; the first one compiles
            seconds = _once(lambda one=one: rule.step(None, one, context))
            found.append((seconds, _once(lambda one=one: np.argsort(one.limit, kind="stable"))))
        seconds, sort = (min(column) for column in zip(*found[1:], strict=True))
        costs[orders] = seconds / orders * 1e9
        bar = "<= 0.5" if orders == 10**7 else ""
        name = f"one {what} auction of {orders:,} orders, all fills and trades"
        figure = f"{seconds * 1e3:.2f} ms"
        rows.append((name, figure, f"{seconds / sort:.2f}", "NumPy stable argsort of its prices", bar))
    flat = max(costs.values()) / min(costs.values())
    text = ", ".join(f"{cost:.0f}" for cost in costs.values())
    name = f"{what}: cost of an order, smallest to largest auction"
    rows.append((name, f"{text} ns", f"{flat:.2f}", "largest by smallest", "flat"))
    many = book(2_000_000, 100_000)
    seconds = min([_once(lambda: rule.step(None, many, context)) for _ in range(4)][1:])
    sort = _once(lambda: np.lexsort((many.limit, many.interval)))
    name, figure = f"100,000 {what} auctions of 20 orders", f"{2 / seconds:.1f} M orders/s"
    rows.append((name, figure, f"{seconds / sort:.3f}", "NumPy lexsort", ">= 5 M/s"))
    return rows


def _once(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return time.process_time() - began


def years(quick: bool) -> list[ROW]:
    """A year of 1,000 members: clearing, double entry, seals, statements."""
    members, intervals = (200, 3_504) if quick else (1_000, 35_040)
    rows = []
    for mechanism in ("uniform-auction", "dynamic-key"):
        command = [sys.executable, "-m", "benchmarks.year", mechanism, str(members), str(intervals)]
        answer = subprocess.run(command, check=True, capture_output=True, text=True)
        seconds, reference, peak, _ = (float(word) for word in answer.stdout.split())
        name = f"{members:,} members x {intervals:,} intervals, {mechanism}"
        figure = f"{seconds:.1f} s, {peak:,.0f} MB"
        rows.append((name, figure, f"{seconds / reference:.0f}", "float shares of the pool in NumPy", "<= 8 s, 2 GB"))
    return rows


def village(quick: bool) -> list[ROW]:
    """`wattle try` from command to finished page; once with kernels to compile, then as always."""
    rows = []
    sizes = ["--homes", "20", "--days", "7"] if quick else []
    with tempfile.TemporaryDirectory() as folder:
        for number, (when, bar) in enumerate((("very first time", "<= 25 s"), ("from then on", "<= 10 s, 1 GB"))):
            out = Path(folder) / f"run-{number}"
            command = [sys.executable, "-m", "wattle", "try", *sizes, "--no-open", "--out", str(out)]
            environment = {**os.environ, "NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True, env=environment)
            seconds = time.perf_counter() - began
            usage = resource.getrusage(resource.RUSAGE_CHILDREN)
            start = best(lambda: subprocess.run([sys.executable, "-c", "import numpy"], check=True), 1)
            peak = f", at most {usage.ru_maxrss / 1024:,.0f} MB" if number else ""
            figure = f"{seconds:.1f} s ({usage.ru_utime - before:.1f} s CPU){peak}"
            rows.append((f"wattle try, {when}", figure, f"{seconds / start:.0f}", "start of Python with NumPy", bar))
    return rows


def main() -> None:
    """Print the table."""
    quick = "--quick" in sys.argv[1:]
    table = Table("what", "figure", "ratio", "reference", "bar", title="wattle, measured")
    for part in (village, years, auctions, order_book, negotiations, coalitions.rows):
        for row in part(quick):
            table.add_row(*row)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()

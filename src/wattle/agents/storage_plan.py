"""One day of a battery and a generator against rising prices: exact plans in one pass, no solver.

A member's net load in an interval is l = e - g + u - v: expected need, own production, charged and discharged energy
at the meter. With everybody else's load fixed, a lot of his costs a + 2 K l ticks at the margin. He minimises

    sum_h (a_h + K_h l_h) l_h + cost g_h + slope / 2 g_h^2 + inertia / 2 |(g, u, v)_h - centroid_h|^2
    0 <= g <= most a slot, sum_h g_h <= budget,   0 <= u <= charge, 0 <= v <= discharge,
    q_h = keeps q_{h-1} + into u_h - out v_h,     0 <= q_h <= room,   q_0 given, q_H within `slack` of it.

Let w_h be what a stored lot is worth at the end of slot h. Given w_h a slot stands alone, and what it stores rises with
w_h along a few straight pieces (`_trace`). Backwards in time the content that a worth w asks for is therefore a falling
curve of straight pieces too: q_{h-1}(keeps w) = (q_h(w) cut to 0 ... room, less what slot h stores) / keeps. Forwards
each slot reads its worth off that curve. The plan is exact up to the last digits of a float. A budget of production
that binds is priced by one number more, found by interpolation (`BUDGET_TOLERANCE`).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from wattle.core.compiled import kernel

PIECES = 24
"""Room for the points of one slot's curve; its three quantities make thirteen at most in thousands of drawn days."""

BUDGET_TOLERANCE = 1e-9
"""A binding budget is used up to this part of it, and never exceeded."""

COST, SLOPE, MOST, BUDGET, CHARGE, DISCHARGE, INTO, OUT, KEEPS, ROOM, START, SLACK = range(12)
DEVICE_COLUMNS = 12
"""Columns of the table of devices, in lots and ticks; `INTO` is at most 1, `OUT` at least 1."""


@kernel("f f f f f")
def _made(theta: Any, centroid: Any, inertia: Any, dear: Any, bend: Any) -> Any:
    """Return what is produced at marginal price theta before the bounds; `dear` is cost and price of the budget."""
    return (inertia * centroid + theta - dear) / (inertia + bend)


@kernel("f f f f f f f f")
def _theta(a: Any, twice: Any, base: Any, centroid: Any, inertia: Any, dear: Any, bend: Any, most: Any) -> Any:
    """Return theta = a + twice (base - g(theta)) with production g between 0 and `most`."""
    low = a + twice * base
    if _made(low, centroid, inertia, dear, bend) <= 0.0:
        return low
    high = a + twice * (base - most)
    if _made(high, centroid, inertia, dear, bend) >= most:
        return high
    ease = twice / (inertia + bend)
    return (a + twice * base - ease * (inertia * centroid - dear)) / (1.0 + ease)


@kernel("f f f")
def _cut(value: Any, low: Any, high: Any) -> Any:
    return min(max(value, low), high)


@kernel("f f f i f")
def _ahead(raw: Any, pace: Any, most: Any, status: Any, never: Any) -> Any:
    """Return how far the worth must rise until a quantity meets (or leaves) a bound; status -1, 0, 1: low, free, high.

    `raw` is what it would be without bounds, `pace` how fast that changes.
    """
    if status == 0:
        if pace > 0.0:
            return max(0.0, (most - raw) / pace)
        return max(0.0, -raw / pace) if pace < 0.0 else never
    if status < 0:
        return max(0.0, -raw / pace) if pace > 0.0 else never
    return max(0.0, (most - raw) / pace) if pace < 0.0 else never


@kernel("f f f rf f f rf wf wf wf")
def _trace(
    a: Any, twice: Any, need: Any, device: Any, dear: Any, inertia: Any, centroid: Any, worth: Any, stored: Any,
    theta: Any,
) -> Any:  # fmt: skip
    """Follow a slot as the worth of a stored lot rises from below everything to above it; return the number of points.

    `centroid` holds production, charge and discharge. Between two points stored energy and marginal price are straight
    lines of the worth. At first the slot discharges all it can, at last it charges all it can.
    """
    into, out, bend = device[INTO], device[OUT], inertia + device[SLOPE]
    most = (device[MOST], device[CHARGE], device[DISCHARGE])
    price = _theta(a, twice, need - most[2], centroid[0], inertia, dear, device[SLOPE], most[0])
    made = _made(price, centroid[0], inertia, dear, device[SLOPE])
    making, charging, discharging = 0, -1, 1
    if made <= 0.0:
        making = -1
    elif made >= most[0]:
        making = 1
    # The first point: where the battery would begin to do anything else.
    lam = min((price - inertia * centroid[1]) / into, (price + inertia * (centroid[2] - most[2])) / out)
    never = 1e300
    for point in range(PIECES):
        raw_g = _made(price, centroid[0], inertia, dear, device[SLOPE])
        raw_u = centroid[1] + (lam * into - price) / inertia
        raw_v = centroid[2] + (price - lam * out) / inertia
        u = 0.0 if charging < 0 else (most[1] if charging > 0 else _cut(raw_u, 0.0, most[1]))
        v = 0.0 if discharging < 0 else (most[2] if discharging > 0 else _cut(raw_v, 0.0, most[2]))
        worth[point], stored[point], theta[point] = lam, into * u - out * v, price
        if charging > 0 and discharging < 0:
            return point + 1
        push, ease = 0.0, 0.0
        if charging == 0:
            push, ease = push + into / inertia, ease + 1.0 / inertia
        if discharging == 0:
            push, ease = push + out / inertia, ease + 1.0 / inertia
        if making == 0:
            ease += 1.0 / bend
        pace = twice * push / (1.0 + twice * ease)
        far_g = _ahead(raw_g, pace / bend, most[0], making, never)
        far_u = _ahead(raw_u, (into - pace) / inertia, most[1], charging, never)
        far_v = _ahead(raw_v, (pace - out) / inertia, most[2], discharging, never)
        far = min(far_g, far_u, far_v)
        if far == never:
            return point + 1
        if far == far_v:
            slows = pace - out < 0.0
            discharging = discharging - 1 if slows else discharging + 1
        elif far == far_u:
            charging = charging + 1 if into - pace > 0.0 else charging - 1
        else:
            making += 1
        lam += far
        price += far * pace
    return PIECES


@kernel("rf rf i f")
def _at(x: Any, y: Any, count: Any, where: Any) -> Any:
    """Return y at `where` on the line through the points, level beyond both ends."""
    if where <= x[0]:
        return y[0]
    if where >= x[count - 1]:
        return y[count - 1]
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if x[middle] <= where:
            low = middle
        else:
            high = middle
    return y[low] + (y[high] - y[low]) * (where - x[low]) / (x[high] - x[low])


@kernel("rf rf i f")
def _worth_of(x: Any, y: Any, count: Any, content: Any) -> Any:
    """Return where the falling line y(x) is `content`; the nearest end if it is nowhere."""
    if content >= y[0]:
        return x[0]
    if content <= y[count - 1]:
        return x[count - 1]
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        if y[middle] > content:
            low = middle
        else:
            high = middle
    return x[low] + (x[high] - x[low]) * (y[low] - content) / (y[low] - y[high])


@kernel("rf rf i rf rf i f wf wf")
def _before(
    qx: Any, qy: Any, count: Any, bx: Any, by: Any, points: Any, keeps: Any, x: Any, y: Any
) -> Any:  # fmt: skip
    """Write the content before a slot as a curve of its worth: (content after it - stored in it) / keeps."""
    i, j, found = 0, 0, 0
    while i < count or j < points:
        if j >= points or (i < count and qx[i] <= bx[j]):
            where = qx[i]
            content = qy[i]
            flow = _at(bx, by, points, where)
            if j < points and bx[j] == where:
                j += 1
            i += 1
        else:
            where = bx[j]
            flow = by[j]
            if i == 0:
                content = qy[0]
            elif i >= count:
                content = qy[count - 1]
            else:
                content = qy[i - 1] + (qy[i] - qy[i - 1]) * (where - qx[i - 1]) / (qx[i] - qx[i - 1])
            j += 1
        x[found], y[found] = where, (content - flow) / keeps
        found += 1
    return found


@kernel("rf rf i f f wf wf")
def _within(x: Any, y: Any, count: Any, room: Any, keeps: Any, qx: Any, qy: Any) -> Any:
    """Cut a falling curve to 0 ... room and count its worth at the end of the slot before; return its points."""
    found = 0
    for i in range(count):
        if i > 0:
            for bound in (room, 0.0):
                if y[i - 1] > bound > y[i]:
                    share = (y[i - 1] - bound) / (y[i - 1] - y[i])
                    qx[found], qy[found] = keeps * (x[i - 1] + share * (x[i] - x[i - 1])), bound
                    found += 1
        if 0.0 <= y[i] <= room:
            qx[found], qy[found] = keeps * x[i], y[i]
            found += 1
    if found == 0:  # out of reach altogether; kept as near as can be
        qx[0], qy[0] = keeps * x[0], _cut(y[0], 0.0, room)
        found = 1
    return found


@kernel("rf rf rf rf f f rf2 wf2 wf2 wf2 wf2 wf2 wf2 wf wf w8")
def _planned(
    a: Any, grid: Any, need: Any, device: Any, extra: Any, inertia: Any, centroid: Any, plan: Any, bx: Any, by: Any,
    bt: Any, x: Any, y: Any, qx: Any, qy: Any, counts: Any,
) -> Any:  # fmt: skip
    """Fill `plan` [T, 3] with the best production, charge and discharge; return the production of all slots.

    `extra` is the price of the budget. All after `plan` is scratch.
    """
    slots, keeps, room, start = need.size, device[KEEPS], device[ROOM], device[START]
    dear, total = device[COST] + extra, 0.0
    battery = room > 0.0 and (device[CHARGE] > 0.0 or device[DISCHARGE] > 0.0)
    if battery:
        qx[0], qy[0] = 0.0, min(room, start + device[SLACK])
        qx[1], qy[1] = 0.0, max(0.0, start - device[SLACK])
        count = 1 if qy[0] == qy[1] else 2
        for back in range(slots):
            h = slots - 1 - back
            points = _trace(a[h], 2.0 * grid[h], need[h], device, dear, inertia, centroid[h], bx[h], by[h], bt[h])
            made = _before(qx, qy, count, bx[h], by[h], points, keeps, x[h], y[h])
            counts[2 * h], counts[2 * h + 1] = points, made
            if h > 0:
                count = _within(x[h], y[h], made, room, keeps, qx, qy)
    content = start
    for h in range(slots):
        if battery:
            worth = _worth_of(x[h], y[h], counts[2 * h + 1], content)
            price = _at(bx[h], bt[h], counts[2 * h], worth)
            u = _cut(centroid[h, 1] + (worth * device[INTO] - price) / inertia, 0.0, device[CHARGE])
            v = _cut(centroid[h, 2] + (price - worth * device[OUT]) / inertia, 0.0, device[DISCHARGE])
            content = keeps * content + device[INTO] * u - device[OUT] * v
        else:
            u, v = 0.0, 0.0
            price = _theta(a[h], 2.0 * grid[h], need[h], centroid[h, 0], inertia, dear, device[SLOPE], device[MOST])
        g = _cut(_made(price, centroid[h, 0], inertia, dear, device[SLOPE]), 0.0, device[MOST])
        plan[h, 0], plan[h, 1], plan[h, 2] = g, u, v
        total += g
    return total


@kernel("rf2 rf rf2 rf2 f rf2 wf2 wf")
def plan_members(
    a: Any, grid: Any, need: Any, devices: Any, inertia: Any, centroid: Any, plan: Any, extra: Any
) -> Any:  # fmt: skip
    """Fill `plan` [N T, 3] for N members at once: production, charge, discharge in lots.

    `a`, `need` [N, T] are marginal price without own load and expected need, `grid` [T] ticks per lot, `devices`
    [N, 12], `centroid` [N T, 3]. `extra` [N] is the price of the production budget; where it stood last is where it is
    looked for first.
    """
    members, slots = need.shape
    size = PIECES * slots + 2 * slots + 8
    bx, by, bt = np.empty((slots, PIECES)), np.empty((slots, PIECES)), np.empty((slots, PIECES))
    x, y, qx, qy = np.empty((slots, size)), np.empty((slots, size)), np.empty(size), np.empty(size)
    counts = np.zeros(2 * slots, np.int64)
    for n in range(members):
        device, first = devices[n], n * slots
        old, new = centroid[first : first + slots], plan[first : first + slots]
        budget = device[BUDGET]
        low, high = 0.0, 1.0  # at the highest price nothing is made: a lot costs more than it can save anywhere
        for h in range(slots):
            saved = a[n, h] + 2.0 * grid[h] * (abs(need[n, h]) + device[CHARGE])
            high = max(high, saved + inertia * device[MOST] + 1.0)
        over, under, tried, side = np.inf, -budget, extra[n], 0
        for _ in range(200):
            found = _planned(
                a[n], grid, need[n], device, tried, inertia, old, new, bx, by, bt, x, y, qx, qy, counts
            ) - budget  # fmt: skip
            if found <= 0.0 and (tried == 0.0 or found >= -BUDGET_TOLERANCE * budget):
                break
            if high - low <= 1e-15 * high and found <= 0.0:
                break
            if found > 0.0:
                low, over = tried, found
                if side > 0:
                    under *= 0.5
                side = 1
            else:
                high, under = tried, found
                if side < 0:
                    over *= 0.5
                side = -1
            if over == np.inf:
                tried = 0.0
            else:
                # The Illinois step, aimed a little inside the budget so that the end is on the right side of it.
                aim = 0.5 * BUDGET_TOLERANCE * budget
                tried = low + (high - low) * (over + aim) / (over - under)
                if not low < tried < high:
                    tried = 0.5 * (low + high)
        extra[n] = tried

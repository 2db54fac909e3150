"""Rows of readings to dense arrays: each meter and interval exactly once, nothing filled in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from wattle.core.checks import ensure
from wattle.intake.findings import Findings
from wattle.intake.readings import BOTH_WAYS, FileSummary, MeterData, MeterRows, Register, registers_in

I64 = NDArray[np.int64]
Scalar = TypeVar("Scalar", bound=np.generic)


def assemble(batch: MeterRows) -> MeterData:
    """Return the dense arrays of a complete batch; raise `InputError` if anything is missing or there twice."""
    findings = Findings()
    order = check_unique(batch, findings)
    check_complete(batch, order, findings)
    findings.raise_if_any()
    return dense(batch, order)


def check_unique(batch: MeterRows, findings: Findings) -> I64:
    """Report readings that are there twice. Return the order of the rows by register and interval."""
    rows = batch.rows
    key = rows.register.astype(np.int64) * batch.count + rows.interval
    in_order = bool((np.diff(key) > 0).all())  # the usual case for one wide file
    order = np.arange(len(key)) if in_order else np.argsort(key, kind="stable")
    twice = np.flatnonzero(np.diff(key[order]) == 0)
    first, second = order[twice], order[twice + 1]
    _refuse_pairs(batch, first, second, findings)
    _refuse_mixed_directions(batch, findings)
    return order


def _refuse_pairs(batch: MeterRows, first: I64, second: I64, findings: Findings) -> None:
    """Report each pair of rows, or of files, that hold the same readings, once."""
    rows, names = batch.rows, [summary.name for summary in batch.summaries]
    across = rows.file[first] != rows.file[second]
    line_a, line_b = np.where(across, 0, rows.row[first]), np.where(across, 0, rows.row[second])
    pairs = np.stack((rows.file[first], rows.file[second], line_a, line_b), axis=1).astype(np.int64)
    if not len(pairs):
        return
    unique, example, counts = np.unique(pairs, axis=0, return_index=True, return_counts=True)
    for number in np.argsort(example)[: findings.room("duplicate", len(unique))].tolist():
        a, b = int(first[example[number]]), int(second[example[number]])
        same = "the same value" if rows.value[a] == rows.value[b] else "another value"
        meter, more = batch.registers[rows.register[a]].meter, int(counts[number]) - 1
        message = (
            f"meter {meter} at {batch.local(int(rows.interval[a]))} is there twice: also in {names[rows.file[a]]}, "
            f"row {rows.row[a]}, with {same}"
            f"{f' (and {more:,} more readings)' if more else ''}; delete one"
        )
        findings.add(
            "duplicate",
            message,
            file=names[rows.file[b]],
            row=int(rows.row[b]),
            column=batch.summaries[rows.file[b]].columns[meter],
            value=batch.local(int(rows.interval[b])),
            expected="each meter and interval once",
        )


def _refuse_mixed_directions(batch: MeterRows, findings: Findings) -> None:
    """Report meters with readings both with and without a direction: they would be counted twice."""
    present = set(registers_in(batch.rows.register))
    net = {r.meter for k, r in enumerate(batch.registers) if k in present and r.sign == BOTH_WAYS}
    for number in sorted(present):
        register = batch.registers[number]
        if register.sign != BOTH_WAYS and register.meter in net:
            net.discard(register.meter)
            _, summary, line = _place(batch, int(np.argmax(batch.rows.register == number)))
            findings.add(
                "direction-conflict",
                "some readings of this meter name a direction, others do not; keep one kind",
                file=summary.name,
                row=line,
                column=summary.columns[register.meter],
                value=register.meter,
                expected="all readings of a meter with a direction, or none",
            )


def check_complete(batch: MeterRows, order: I64, findings: Findings) -> None:
    """Report meters without readings, meters that start late or end early, and gaps."""
    rows, count = batch.rows, batch.count
    register, interval = rows.register[order], rows.interval[order].astype(np.int64)
    _refuse_absent(batch, register, findings)
    if not len(register):
        return
    first = np.concatenate(([True], np.diff(register) != 0))
    last = np.concatenate((first[1:], [True]))
    begins, ends = np.flatnonzero(first), np.flatnonzero(last)
    late = begins[interval[begins] > 0]
    early = ends[interval[ends] < count - 1]
    step = np.diff(interval, append=0)
    holes = np.flatnonzero((step > 1) & ~last)
    start = np.concatenate((interval[late] * 0, interval[early] + 1, interval[holes] + 1))
    length = np.concatenate((interval[late], count - 1 - interval[early], step[holes] - 1))
    code = np.repeat((0, 1, 2), (len(late), len(early), len(holes)))
    _refuse_missing(batch, order[np.concatenate((late, early, holes))], start, length, code, findings)


def _refuse_absent(batch: MeterRows, register: NDArray[np.int32], findings: Findings) -> None:
    present = {batch.registers[number].meter for number in registers_in(register)}
    for meter in dict.fromkeys(register.meter for register in batch.registers):
        if meter not in present:
            member = batch.members[next(r.member for r in batch.registers if r.meter == meter)]
            message = f"no file has a reading of meter {meter} of member {member}; add its file or remove the meter"
            findings.add("meter-without-data", message, value=meter, expected="readings for the whole period")


def _refuse_missing(batch: MeterRows, near: I64, start: I64, length: I64, code: I64, findings: Findings) -> None:
    """Report runs of missing readings; meters that miss the same run share a finding."""
    rows = batch.rows
    runs = np.stack((start, length, code), axis=1)
    if not len(runs):
        return
    unique, example, counts = np.unique(runs, axis=0, return_index=True, return_counts=True)
    for number in range(findings.room("gap", len(unique))):
        place, (begin, missing, kind) = int(near[example[number]]), unique[number].tolist()
        register, summary, line = _place(batch, place)
        who = f"meter {register.meter}" + (f" and {counts[number] - 1:,} more" if counts[number] > 1 else "")
        many = f"{missing:,} interval{'s' if missing > 1 else ''}"
        span = f"{batch.local(begin)} to {batch.local(begin + missing - 1)}"
        words = (f"{who} starts late: {many} missing", f"{who} ends early: {many} missing", f"{who}: {many} missing")
        findings.add(
            "gap" if kind == 2 else "span",
            f"{words[kind]}, {span}; add the missing readings",
            file=summary.name,
            row=line,
            column=summary.columns[register.meter],
            value=batch.local(int(rows.interval[place])),
            expected=f"every interval from {batch.local(0)} to {batch.local(batch.count - 1)}",
        )


def dense(batch: MeterRows, order: I64) -> MeterData:
    """Return the arrays of a checked batch; `order` sorts its rows by register and interval."""
    rows = batch.rows
    registers = tuple(batch.registers[number] for number in registers_in(rows.register))
    shape = (len(registers), batch.count)
    energy = rows.value[order].reshape(shape)
    return MeterData(
        batch.start_s,
        batch.step_s,
        batch.count,
        batch.timezone,
        batch.members,
        registers,
        _frozen(energy),
        _frozen(rows.file[order].reshape(shape)),
        _frozen(rows.row[order].reshape(shape)),
        _frozen(rows.status[order].reshape(shape)),
        *_by_member(energy, registers, len(batch.members)),
        batch.summaries,
    )


def _frozen(array: NDArray[Scalar]) -> NDArray[Scalar]:
    """Return [T, columns] for [columns, T], read-only."""
    turned = np.ascontiguousarray(array.T)
    turned.flags.writeable = False
    return turned


def _by_member(energy: I64, registers: Sequence[Register], members: int) -> tuple[I64, I64, I64]:
    """Return net energy, consumption and feed-in [T, N] of register readings [M, T]."""
    consumption, feed_in = (np.zeros((members, energy.shape[1]), np.int64) for _ in range(2))
    for register, series in zip(registers, energy, strict=True):
        consumption[register.member] += np.maximum(series, 0)
        feed_in[register.member] += np.maximum(-series, 0)
    return _frozen(consumption - feed_in), _frozen(consumption), _frozen(feed_in)


def apply_corrections(data: MeterData, batch: MeterRows) -> MeterData:
    """Return the data with the readings of a batch in place of their old ones; the sources name the new files.

    The batch must be read with `grid=data.grid`, so that the same interval has the same number.
    """
    ensure(batch.grid == data.grid, "corrections must be numbered on the grid of the data they correct")
    ensure(batch.members == data.members, "corrections must be read with the same meters as the data they correct")
    ensure(len(data.summaries) + len(batch.summaries) < 1 << 15, "more than 32,767 files in one settlement")
    place = {register: number for number, register in enumerate(data.registers)}
    column = np.array([place.get(register, -1) for register in batch.registers], np.int64)[batch.rows.register]
    findings = Findings()
    check_unique(batch, findings)
    _refuse_new_registers(batch, column < 0, findings)
    findings.raise_if_any()
    rows, cell = batch.rows, (batch.rows.interval, column)
    energy, file = data.register_energy.copy(), data.source_file.copy()
    row, status = data.source_row.copy(), data.status.copy()
    energy[cell], row[cell], status[cell] = rows.value, rows.row, rows.status
    file[cell] = rows.file + len(data.summaries)
    return MeterData(
        data.start_s,
        data.step_s,
        data.count,
        data.timezone,
        data.members,
        data.registers,
        _frozen(energy.T),
        _frozen(file.T),
        _frozen(row.T),
        _frozen(status.T),
        *_by_member(energy.T, data.registers, len(data.members)),
        data.summaries + batch.summaries,
    )


def _refuse_new_registers(batch: MeterRows, new: NDArray[np.bool_], findings: Findings) -> None:
    """Report readings of a meter, or of a direction, that the data to be corrected do not have."""
    for number in np.unique(batch.rows.register[new]).tolist():
        register, summary, line = _place(batch, int(np.argmax(batch.rows.register == number)))
        direction = {1: " with direction consumption", -1: " with direction feed-in"}.get(register.sign, "")
        findings.add(
            "direction-conflict",
            f"there are no readings of meter {register.meter}{direction} to correct; write it as in the first files",
            file=summary.name,
            row=line,
            column=summary.columns[register.meter],
            value=register.meter,
            expected="a meter and direction that the first files have",
        )


def _place(batch: MeterRows, row: int) -> tuple[Register, FileSummary, int]:
    """Return register, file and line of a row of the batch."""
    rows = batch.rows
    return batch.registers[rows.register[row]], batch.summaries[rows.file[row]], int(rows.row[row])

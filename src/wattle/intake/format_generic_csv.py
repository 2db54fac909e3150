"""The generic CSV reader: any file with a header, a time column and values, wide or long.

What the file leaves open stands in `MeterSettings`; what could be told from the file stands in its summary.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from wattle.core.units import QUANTITY_MAX
from wattle.intake.cells import NOWHERE, Cells, find_cells
from wattle.intake.csvtable import CsvTable, FileBytes, read_table
from wattle.intake.findings import Findings
from wattle.intake.layouts import Layout, find_layout
from wattle.intake.meters import FileRows, Request, reader
from wattle.intake.readings import ESTIMATED, FEED_IN, SUBSTITUTE, FileSummary, registers_in
from wattle.intake.settings import DAY_S, MeterSettings
from wattle.intake.timestamps import choose_meanings, local_text, offsets_at, read_stamps
from wattle.intake.values import Numbers, carry_remainders, choose_mark, read_numbers, refusal, scale, whole_lots


@dataclass(frozen=True, eq=False)
class _File:
    """A file that is being read, and where what is wrong with it goes."""

    table: CsvTable
    layout: Layout
    cells: Cells
    request: Request
    findings: Findings

    def refuse(self, code: str, message: str, line: int, place: int, expected: str) -> None:
        """Add a finding about the cell in a row of data and a column."""
        table = self.table
        self.findings.add(
            code,
            message,
            file=table.name,
            row=int(table.row[line]),
            column=table.header[place],
            value=table.text(line, place),
            expected=expected,
        )

    def refuse_values(self, which: NDArray[np.bool_], code: str, message: str, expected: str) -> None:
        """Add a finding for each value cell in the mask [n], row by row."""
        for cell in self.in_order(which, code):
            self.refuse(code, message, int(self.cells.line[cell]), self.place(cell), expected)

    def in_order(self, which: NDArray[np.bool_], code: str) -> list[int]:
        """Return the value cells in a mask [n] in the order of the file, as many as will be reported."""
        found = np.flatnonzero(which)
        found = found[np.lexsort((self.cells.column[found], self.cells.line[found]))]
        shown: list[int] = found[: self.findings.room(code, len(found))].tolist()
        return shown

    def place(self, cell: int) -> int:
        """Return the column of the table in which a value cell stands."""
        return self.layout.values[int(self.cells.column[cell])].place


@reader("generic-csv")
def read_generic_csv(file: FileBytes, request: Request, findings: Findings) -> FileRows | None:
    """Read a CSV file of any common shape; None if `findings` says why nothing can be read."""
    table = read_table(file, request.settings.separator, findings)
    if table is None:
        return None
    layout = find_layout(table, request.meters, request.settings, findings)
    if layout is None:
        return None
    work = _File(table, layout, find_cells(table, layout, request, findings), request, findings)
    start_s, placed, date_order = _starts(work)
    lots, mark, rounded = _lots(work, start_s)
    cells = work.cells
    placed &= cells.register != NOWHERE
    kept = slice(None) if bool(placed.all()) else placed
    start_s, register = start_s[kept], cells.register[kept]
    summary = _summary(work, file, start_s, register)
    summary = replace(summary, decimal=mark, rounded=rounded, date_order=date_order)
    return FileRows(start_s, register, lots[kept], table.row[cells.line[kept]], cells.status[kept], summary)


def _starts(work: _File) -> tuple[NDArray[np.int64], NDArray[np.bool_], str]:
    """Return for each reading [n] the start of its interval, whether it is certain, and the order of dates."""
    table, layout, cells = work.table, work.layout, work.cells
    texts, code = table.codes(layout.time)
    stamps = read_stamps(texts, work.request.settings)
    first_line = np.unique(code, return_index=True)[1]
    for problem in stamps.problems[: work.findings.room("timestamp", len(stamps.problems))]:
        line = int(first_line[problem.index])
        work.refuse(problem.code, problem.message, line, layout.time, problem.expected)
    by_row = layout.meter is None  # all readings of a row share its time
    register = np.zeros(len(code), np.int32) if by_row else cells.register
    start_s, decided = choose_meanings(stamps, code, register)
    _refuse_undecided(work, start_s, ~decided)
    ok = stamps.ok[code] & decided
    if not _wrong_step(work, start_s[ok]):
        off_grid = np.flatnonzero(stamps.off_grid & stamps.ok)
        for index in off_grid[: work.findings.room("off-grid", len(off_grid))].tolist():
            minutes = f"{work.request.settings.step_s / 60:g} minutes"
            message = f"the time is not a whole number of {minutes} after midnight; correct it or the setting step_s"
            work.refuse("off-grid", message, int(first_line[index]), layout.time, f"a multiple of {minutes}")
    if by_row:
        return start_s[cells.line], ok[cells.line], stamps.date_order
    return start_s, ok, stamps.date_order


def _refuse_undecided(work: _File, start_s: NDArray[np.int64], undecided: NDArray[np.bool_]) -> None:
    """Report each repeated hour in which the rows do not tell which pass is meant."""
    lines = np.flatnonzero(undecided)
    for day in np.unique(start_s[lines] // DAY_S).tolist():
        of_day = lines[start_s[lines] // DAY_S == day]
        message = (
            f"the clock shows this time twice and the rows do not tell which one is meant ({len(of_day):,} "
            f"row{'s' if len(of_day) > 1 else ''} on this day); keep both passes in time order, or write the UTC offset"
        )
        expected = "rows of both passes in time order, or a time such as 02:30+01:00"
        work.refuse("time-repeated", message, int(of_day[0]), work.layout.time, expected)


def _wrong_step(work: _File, start_s: NDArray[np.int64]) -> bool:
    """Report a file whose times mostly lie another step apart than the settings say."""
    step_s = work.request.settings.step_s
    steps, counts = np.unique(np.diff(np.unique(start_s)), return_counts=True)
    if not work.request.complete or counts.sum() < 2:
        return False
    usual = int(steps[np.argmax(counts)])
    if usual == step_s or 2 * counts.max() <= counts.sum():
        return False
    work.findings.add(
        "wrong-step",
        f"the times lie {usual / 60:g} minutes apart, the settings say {step_s / 60:g}; "
        f"write step_s = {usual} in the section [meters] or ask for another file",
        file=work.table.name,
        column=work.table.header[work.layout.time],
        value=f"{usual} s",
        expected=f"{step_s} s",
    )
    return True


def _lots(work: _File, start_s: NDArray[np.int64]) -> tuple[NDArray[np.int64], str, int]:
    """Return signed lots [n] (0 where a value is refused), the decimal mark, and how many values were rounded."""
    cells, settings = work.cells, work.request.settings
    numbers = read_numbers(work.table.octets, cells.start, cells.end)
    choice = choose_mark(numbers, settings.decimal, work.table.separator)
    if choice.mark is None:
        _refuse_mark(work, choice.examples)
    mark, wrong = choice.mark or "", ~numbers.ok
    if choice.mark is not None:
        wrong |= (numbers.mark != 0) & (numbers.mark != ord(mark or "."))
    for cell in work.in_order(wrong, "value-not-number"):
        line, place = int(cells.line[cell]), work.place(cell)
        code, message = refusal(work.table.text(line, place), mark)
        work.refuse(code, message, line, place, f"a plain decimal such as 0{mark or '.'}25")
    sign = np.array([register.sign for register in work.request.registers] + [0], np.int8)[cells.register]
    message = "a meter that counts one way cannot read below 0; is it a two-way meter? Then name it so in the members"
    work.refuse_values(~wrong & (numbers.mantissa < 0) & (sign != 0), "value-negative", message, "0 or more")
    if wrong.any():
        numbers = replace(
            numbers, mantissa=np.where(wrong, 0, numbers.mantissa), decimals=np.where(wrong, 0, numbers.decimals)
        )
    lots, rounded = _whole(work, numbers, start_s)
    expected = f"at most {QUANTITY_MAX:,} lots"
    message = "no interval can hold so much; check the unit"
    work.refuse_values(np.abs(lots) > QUANTITY_MAX, "value-too-large", message, expected)
    return np.where(sign == FEED_IN, -lots, lots), mark, rounded


def _refuse_mark(work: _File, examples: tuple[int, ...]) -> None:
    """Report that the decimal mark is open, with the cells that leave it open."""
    cell = examples[0]
    line, place = int(work.cells.line[cell]), work.place(cell)
    message = "this may be a decimal or a whole number with its thousands parted"
    if len(examples) > 1:
        other = examples[1]
        text = work.table.cell(int(work.cells.start[other]), int(work.cells.end[other]))
        row = int(work.table.row[work.cells.line[other]])
        message = f"the file has numbers with . and numbers with , ({text} in row {row})"
    message += '; write decimal = "." or decimal = "," in the section [meters]'
    work.refuse("decimal-unknown", message, line, place, "one decimal mark in the file")


def _whole(work: _File, numbers: Numbers, start_s: NDArray[np.int64]) -> tuple[NDArray[np.int64], int]:
    """Return whole lots [n] as the rounding rule says, and how many values were not whole."""
    settings, cells = work.request.settings, work.cells
    per_unit = [settings.lots_per(column.unit) for column in work.layout.values]
    rounding = settings.rounding is not None
    scaled = scale(numbers, cells.column, per_unit, len(cells.line) if rounding else 1)
    lots, whole = whole_lots(scaled)
    if not rounding:
        message = (
            f"the value is not a whole number of {settings.lot_text}; ask for more decimals, "
            'or write rounding = "largest-remainder" in the section [meters]'
        )
        work.refuse_values(~whole, "value-not-whole", message, f"a whole number of {settings.lot_text}")
        return lots, 0
    day = (start_s + offsets_at(start_s, settings.zone)) // DAY_S
    return carry_remainders(scaled, cells.register, day, start_s), int((~whole).sum())


def _summary(work: _File, file: FileBytes, start_s: NDArray[np.int64], register: NDArray[np.int32]) -> FileSummary:
    """Return what was found in the file."""
    table, layout, cells, request = work.table, work.layout, work.cells, work.request
    zone = request.settings.zone
    meters = tuple(dict.fromkeys(request.registers[k].meter for k in registers_in(register)))
    columns = {column.meter: column.name for column in layout.values if column.meter}
    return FileSummary(
        name=file.name,
        sha256=file.sha256,
        format=request.settings.format,
        layout=layout.name,
        encoding=table.encoding,
        separator=table.separator,
        decimal="",
        unit=", ".join(dict.fromkeys(column.unit for column in layout.values)),
        rows=len(table.row),
        meters=meters,
        first=local_text(int(start_s.min()), zone) if len(start_s) else "",
        last=local_text(int(start_s.max()), zone) if len(start_s) else "",
        columns=columns or dict.fromkeys(meters, layout.values[0].name),
        estimated=int((cells.status == ESTIMATED).sum()),
        substitute=int((cells.status == SUBSTITUTE).sum()),
        notes=table.notes + _stamp_note(start_s, request.settings),
    )


def _stamp_note(start_s: NDArray[np.int64], settings: MeterSettings) -> tuple[str, ...]:
    """Return a note if the file would hold whole days, were the setting `stamp` the other one."""
    if not len(start_s):
        return ()
    ends = np.array([start_s.min(), start_s.max() + settings.step_s])
    shift, other = (settings.step_s, "start") if settings.stamp == "end" else (-settings.step_s, "end")
    if bool(((ends + shift + offsets_at(ends + shift, settings.zone)) % DAY_S == 0).all()):
        return (f'with stamp = "{other}" the file would hold whole days: check this setting',)
    return ()

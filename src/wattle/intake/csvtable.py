"""A CSV file as a grid of cells that still lie in the bytes of the file.

A year of quarter-hours for a hundred meters is 3.5 million cells. They are never made into Python strings: a cell is
a pair of byte offsets, so that numbers can be read for all cells at once, and exactly.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wattle.intake.findings import Findings

FILE_BYTES_MAX = 1 << 30
LOOK_ROWS = 100
"""Rows that are looked at to tell the separator."""

_CONTROL = bytes(set(range(32)) - set(b"\t\n\r"))
_CELL, _LINE = "\x1f", "\x1e"  # stand for separator and line end once quotes are resolved
_IS_BLANK = np.isin(np.arange(256), list(b" \t\r"))
_MAGIC = {
    b"PK\x03\x04": "an Excel or zip file",
    b"\xd0\xcf\x11\xe0": "an old Excel file",
    b"%PDF": "a PDF",
    b"\x1f\x8b": "a compressed file",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


@dataclass(frozen=True)
class FileBytes:
    """A file as it came: the name to show, its bytes and their SHA-256."""

    name: str
    data: bytes
    sha256: str


@dataclass(frozen=True, eq=False)
class CsvTable:
    """Cells of a CSV file: rows R below the header, columns C.

    `start` and `end` [R, C] are offsets into `data` (UTF-8), `row` [R] is the line in the file, counted from 1.
    """

    name: str
    data: bytes
    header: tuple[str, ...]
    header_row: int
    row: NDArray[np.int32]
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    separator: str
    encoding: str
    notes: tuple[str, ...] = ()

    @property
    def octets(self) -> NDArray[np.uint8]:
        """The bytes as an array."""
        return np.frombuffer(self.data, np.uint8)

    def cell(self, start: int, end: int) -> str:
        """Return the text between two offsets."""
        return self.data[start:end].decode()

    def text(self, index: int, column: int) -> str:
        """Return the text of a cell; `index` counts rows of data from 0."""
        return self.cell(int(self.start[index, column]), int(self.end[index, column]))

    def codes(self, column: int) -> tuple[list[str], NDArray[np.int32]]:
        """Return the distinct texts of a column in order of appearance, and for each row [R] the number of its text."""
        known: dict[bytes, int] = {}
        data, block = self.data, 1 << 16
        code = np.empty(len(self.row), np.int32)
        for low in range(0, len(code), block):
            starts = self.start[low : low + block, column].tolist()
            ends = self.end[low : low + block, column].tolist()
            cells = zip(starts, ends, strict=True)
            code[low : low + block] = [known.setdefault(data[start:end], len(known)) for start, end in cells]
        return [text.decode() for text in known], code


def load_bytes(path: Path, name: str, findings: Findings) -> FileBytes | None:
    """Read a file; say in `findings` why that is not possible."""
    try:
        if path.is_dir():
            findings.add("file-unreadable", "this is a folder; name the files in it", file=name)
            return None
        if path.stat().st_size > FILE_BYTES_MAX:
            findings.add("file-too-large", "split the file", file=name, expected=f"at most {FILE_BYTES_MAX:,} bytes")
            return None
        data = path.read_bytes()
    except FileNotFoundError:
        findings.add("file-missing", "there is no such file; check its name", file=name)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        findings.add("file-unreadable", f"the file cannot be opened: {reason}; check its permissions", file=name)
    else:
        return FileBytes(name, data, hashlib.sha256(data).hexdigest())
    return None


def read_table(file: FileBytes, separator: str | None, findings: Findings) -> CsvTable | None:
    """Find the cells of a CSV file; None if `findings` says why there are none."""
    decoded = _decode(file, findings)
    if decoded is None:
        return None
    data, encoding = decoded
    row = 1
    if data[:4].lower() == b"sep=" and data[5:6] == b"\n":  # a line that spreadsheet programs write for themselves
        separator, data, row = separator or chr(data[4]), data[6:], 2
    separator = separator or _find_separator(file.name, data, findings)
    if separator is None:
        return None
    if b'"' in data:
        unquoted = _unquote(file.name, data.decode(), separator, row, findings)
        if unquoted is None:
            return None
        data, rows = unquoted
        cells = _split(data, _CELL, _LINE)
    else:
        cells = _split(data, separator, "\n")
        rows = np.arange(row, row + len(cells.fields), dtype=np.int32)
    return _shape(file.name, cells, rows, separator, encoding, findings)


def _decode(file: FileBytes, findings: Findings) -> tuple[bytes, str] | None:
    """Return the text as UTF-8 with plain line ends, and the name of the encoding it had."""
    data = file.data
    kind = next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), None)
    if kind or len(data.translate(None, _CONTROL)) != len(data):
        findings.add("file-binary", f"this is {kind or 'not a text file'}; save it as CSV in UTF-8", file=file.name)
        return None
    if not data.strip(b"\xef\xbb\xbf \t\r\n"):
        findings.add("file-empty", "the file is empty; export it again", file=file.name)
        return None
    encoding = "utf-8"
    if data.startswith(b"\xef\xbb\xbf"):
        data, encoding = data[3:], "utf-8-sig"
    try:
        data.decode()
    except UnicodeDecodeError as broken:
        row = data[: broken.start].count(b"\n") + 1
        try:
            data, encoding = data.decode("cp1252").encode(), "cp1252"
        except UnicodeDecodeError:
            message = "a character is neither UTF-8 nor Windows-1252; save the file as UTF-8"
            findings.add("file-encoding", message, file=file.name, row=row)
            return None
    data = data.replace(b"\r\n", b"\n")
    return (data if b"\n" in data else data.replace(b"\r", b"\n")), encoding


def _find_separator(name: str, data: bytes, findings: Findings) -> str | None:
    """Return the only separator that splits the header, and if need be every row looked at, alike."""
    end = -1
    for _ in range(LOOK_ROWS + 1):
        end = data.find(b"\n", end + 1)
        if end < 0:
            break
    head = data[: end if end >= 0 else len(data)].decode()
    counts = {mark: _fields(head, mark, cut=end >= 0) for mark in ",;"}
    fits = [mark for mark, count in counts.items() if count[:1] > [1]]
    if len(fits) > 1:
        fits = [mark for mark in fits if len(set(counts[mark])) == 1]
    if len(fits) == 1:
        return fits[0]
    first = head.partition("\n")[0]
    if "\t" in first:
        message = "the cells seem to be separated by tabs; save the file with , or ;"
    elif all(count[:1] <= [1] for count in counts.values()):
        message = "the first row has only one cell; it must name a time column and at least one meter"
    else:
        message = 'both , and ; may separate the cells; write separator = ";" or "," in the section [meters]'
    findings.add("separator-unknown", message, file=name, row=1, value=first[:80], expected="cells separated by , or ;")
    return None


def _fields(text: str, separator: str, cut: bool) -> list[int]:
    """Return the number of cells of each row that is not blank; `cut`: the last row may be incomplete."""
    lines = [line for line in text.split("\n") if line.strip()]
    if '"' not in text:
        return [line.count(separator) + 1 for line in lines]
    try:
        counts = [len(row) for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if row]
    except csv.Error:
        return []
    return counts[:-1] if cut and len(counts) > 1 else counts


def _unquote(
    name: str, text: str, separator: str, row: int, findings: Findings
) -> tuple[bytes, NDArray[np.int32]] | None:
    """Resolve quotes; return the cells joined by marks that cannot occur in them, and the line of each row."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    lines, rows, before = [], [], 0
    try:
        for cells in reader:
            lines.append(_CELL.join(cells))
            rows.append(row + before)
            before = reader.line_num
    except csv.Error as error:
        message = f"the quotes are broken ({error}); close each quoted cell"
        findings.add("quotes", message, file=name, row=row + before, expected='cells like "0,25"')
        return None
    return (_LINE.join(lines) + _LINE).encode(), np.array(rows, np.int32)


@dataclass(frozen=True, eq=False)
class _Cells:
    """All cells in a row: offsets, the number of cells `fields` of each line and the number `first` of its first."""

    data: bytes
    start: NDArray[np.int32]
    end: NDArray[np.int32]
    fields: NDArray[np.int64]
    first: NDArray[np.int64]


def _split(data: bytes, separator: str, line_end: str) -> _Cells:
    if not data.endswith(line_end.encode()):
        data += line_end.encode()
    octets = np.frombuffer(data, np.uint8)
    end = np.flatnonzero((octets == ord(separator)) | (octets == ord(line_end))).astype(np.int32)
    last = np.flatnonzero(octets[end] == ord(line_end))
    start = np.zeros(len(end), np.int32)
    np.add(end[:-1], 1, out=start[1:])
    start, end = _trim(octets, start, end)
    fields = np.diff(last, prepend=-1)
    return _Cells(data, start, end, fields, last - fields + 1)


def _trim(
    octets: NDArray[np.uint8], start: NDArray[np.int32], end: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Leave out blanks around a cell: they mean nothing. A space inside a cell stays, and will be refused."""
    while (blank := (end > start) & _IS_BLANK[octets[end - 1]]).any():
        end = end - blank
    while (blank := (end > start) & _IS_BLANK[octets[start]]).any():
        start = start + blank
    return start, end


def _shape(
    name: str, cells: _Cells, rows: NDArray[np.int32], separator: str, encoding: str, findings: Findings
) -> CsvTable | None:
    """Lay the cells out as a rectangle below the header; report rows that do not fit."""
    blank = (cells.fields == 1) & (cells.start[cells.first] == cells.end[cells.first])
    filled = np.flatnonzero(~blank)
    width = int(cells.fields[0])
    header = tuple(cells.data[cells.start[k] : cells.end[k]].decode() for k in range(width))
    if blank[0]:
        findings.add("header-missing", "the first row is empty; it must name the columns", file=name, row=int(rows[0]))
        return None
    if filled[-1] == 0:
        findings.add("file-empty", "the file has a header but no rows; export it again", file=name, row=int(rows[0]))
        return None
    inside = np.arange(1, filled[-1] + 1)
    empty = inside[blank[1 : filled[-1] + 1]]
    for line in empty[: findings.room("row-empty", len(empty))].tolist():
        findings.add("row-empty", "an empty row stands between rows of data; delete it", file=name, row=int(rows[line]))
    inside = inside[~blank[1 : filled[-1] + 1]]
    ragged = inside[cells.fields[inside] != width]
    for line in ragged[: findings.room("row-length", len(ragged))].tolist():
        _add_ragged(name, header, int(cells.fields[line]), int(rows[line]), separator, findings)
    inside = inside[cells.fields[inside] == width]
    start, end = _rectangle(cells, inside, width)
    used, notes = _used_columns(header, start, end)
    table = CsvTable(
        name, cells.data, header[:used], int(rows[0]), rows[inside], start[:, :used], end[:, :used],
        separator, encoding, notes,
    )  # fmt: skip
    return table if _check_header(table, findings) and len(inside) else None


def _rectangle(cells: _Cells, lines: NDArray[np.int64], width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the offsets [R, C] of the cells of some lines."""
    first = cells.first[lines]
    if len(first) and bool((np.diff(first) == width).all()):  # the usual case: no copy
        part = slice(int(first[0]), int(first[-1]) + width)
        return cells.start[part].reshape(-1, width), cells.end[part].reshape(-1, width)
    grid = first[:, None] + np.arange(width)
    return cells.start[grid], cells.end[grid]


def _add_ragged(name: str, header: Sequence[str], found: int, row: int, separator: str, findings: Findings) -> None:
    message = f"the row has {found} cells, the header has {len(header)}; complete the row"
    if separator == "," and found > len(header):
        message = (
            f"the row has {found} cells, the header has {len(header)}; "
            "quote numbers with a decimal comma, or separate cells with ;"
        )
    findings.add("row-length", message, file=name, row=row, value=f"{found} cells", expected=f"{len(header)} cells")


def _used_columns(
    header: Sequence[str], start: NDArray[np.int32], end: NDArray[np.int32]
) -> tuple[int, tuple[str, ...]]:
    """Return the number of columns without those at the end that have neither name nor content."""
    used = len(header)
    while used > 1 and not header[used - 1] and bool((start[:, used - 1] == end[:, used - 1]).all()):
        used -= 1
    left = len(header) - used
    return used, (f"{left} column(s) at the end without name and content left out",) if left else ()


def _check_header(table: CsvTable, findings: Findings) -> bool:
    """Refuse columns without a name and names that occur twice."""
    before = len(findings)
    seen: dict[str, int] = {}
    for place, name in enumerate(table.header, 1):
        if not name:
            message = f"column {place} has no name; name it or delete it"
            findings.add("column-empty", message, file=table.name, row=table.header_row)
        elif name in seen:
            message = f"columns {seen[name]} and {place} have the same name; delete or rename one"
            findings.add("column-repeated", message, file=table.name, row=table.header_row, column=name, value=name)
        seen.setdefault(name, place)
    return len(findings) == before

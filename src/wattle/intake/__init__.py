"""Meter files to readings, with findings. Reject, never repair: nothing is guessed silently, nothing is filled in."""

from wattle.intake.assemble import apply_corrections, assemble
from wattle.intake.findings import CODES, Finding, InputError
from wattle.intake.format_generic_csv import read_generic_csv
from wattle.intake.members import Member, Members, read_members
from wattle.intake.meters import read_meter_files, reader, readers
from wattle.intake.readings import FileSummary, Meter, MeterData, MeterRows, ReadingRows, Register, Source
from wattle.intake.settings import MeterSettings

__all__ = [
    "CODES",
    "FileSummary",
    "Finding",
    "InputError",
    "Member",
    "Members",
    "Meter",
    "MeterData",
    "MeterRows",
    "MeterSettings",
    "ReadingRows",
    "Register",
    "Source",
    "apply_corrections",
    "assemble",
    "read_generic_csv",
    "read_members",
    "read_meter_files",
    "reader",
    "readers",
]

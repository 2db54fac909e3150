"""Write small meter files and read them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from wattle.core.timegrid import TimeGrid
from wattle.intake import InputError, Meter, MeterData, MeterRows, MeterSettings, read_meter_files

METERS = (
    Meter("AT001", "anna", "consumption"),
    Meter("AT002", "bert", "consumption"),
    Meter("AT003", "bert", "feed-in"),
    Meter("AT004", "cleo", "signed"),
)


@dataclass(frozen=True)
class Desk:
    """A folder with meter files."""

    folder: Path

    def write(self, **files: str | bytes) -> list[Path]:
        """Write files; the keyword is the name without .csv."""
        paths = []
        for name, content in files.items():
            path = self.folder / f"{name}.csv"
            path.write_bytes(content.encode() if isinstance(content, str) else content)
            paths.append(path)
        return paths

    def read(
        self,
        *meters: str,
        complete: bool = True,
        grid: TimeGrid | None = None,
        settings: dict[str, Any] | None = None,
        **files: str | bytes,
    ) -> Any:
        """Write and read files of some of `METERS` (all if none is named)."""
        known = [meter for meter in METERS if not meters or meter.id in meters]
        rules = MeterSettings(**{"timezone": "Europe/Vienna", "stamp": "start"} | (settings or {}))
        return read_meter_files(self.write(**files), known, rules, complete=complete, grid=grid)  # type: ignore[call-overload]

    def data(self, *meters: str, **more: Any) -> MeterData:
        """Read complete files."""
        found = self.read(*meters, **more)
        assert isinstance(found, MeterData)
        return found

    def rows(self, *meters: str, **more: Any) -> MeterRows:
        """Read corrections."""
        found = self.read(*meters, complete=False, **more)
        assert isinstance(found, MeterRows)
        return found

    def error(self, *meters: str, **more: Any) -> InputError:
        """Read files that cannot be used."""
        with pytest.raises(InputError) as caught:
            self.read(*meters, **more)
        return caught.value


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)

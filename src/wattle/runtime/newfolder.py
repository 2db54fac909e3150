"""Make a folder that a community can settle: a commented contract, a list of members, a place for meter files."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from zoneinfo import ZoneInfo

from wattle.core.checks import InputError
from wattle.core.units import decimal_text, exact

_METERS = """Put meter files here, as they come from the grid operator: CSV with a column of times and a column for each
meter, or rows of time, meter, value. Files that were settled must stay; corrected readings come as a new file.
"""


def make_folder(folder: Path, example: bool) -> list[str]:
    """Write the files of a new community and return their names; the folder must be new or empty."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists and is not empty; name a new folder")
    source = files("wattle") / "data" / "new"
    texts = {name: (source / name).read_text(encoding="utf-8") for name in ("community.toml", "members.csv")}
    texts["meters/README.txt"] = _METERS
    if example:
        texts["meters/first-week.csv"] = _week()
    (folder / "meters").mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    return list(texts)


def _week() -> str:
    """Return a week of three homes of the sample village as a file that a grid operator might send."""
    from wattle.scenario.village import load_village

    village = load_village(homes=12, days=7)
    sunny = max(range(12), key=lambda home: int(village.sun_wh[:, home].sum()))
    others = [home for home in range(12) if not village.sun_wh[:, home].any()][:2]
    net = village.net_wh
    columns = {
        "M001": net[:, sunny].clip(min=0),
        "M002": (-net[:, sunny]).clip(min=0),
        "M003": net[:, others[0]],
        "M004": net[:, others[1]],
    }
    lines = ["time;" + ";".join(f"{meter} kWh" for meter in columns)]
    zone, start = ZoneInfo("Europe/Vienna"), datetime(2025, 6, 2, tzinfo=ZoneInfo("Europe/Vienna"))
    for step in range(net.shape[0]):
        moment = (start.astimezone(UTC) + timedelta(minutes=15 * step)).astimezone(zone)
        cells = [decimal_text(exact(int(column[step])) / 1000, 3).replace(".", ",") for column in columns.values()]
        lines.append(f"{moment:%d.%m.%Y %H:%M};" + ";".join(cells))
    return "\n".join(lines) + "\n"

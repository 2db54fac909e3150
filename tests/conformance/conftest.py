"""Makes `broken_rules.py` importable by its name, however pytest is started."""

import importlib.util
import sys
from pathlib import Path

NAME = "broken_rules"

if NAME not in sys.modules:
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name(f"{NAME}.py"))
    sys.modules[NAME] = module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

"""Parses values of PostgreSQL settings as the server does: a size in kB, a count, a factor. Pure.

Only for the settings that the memory budget needs; all others are passed to the server unchanged.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from pgvector_stacks.common.errors import SettingRefused

UNITS_KB: Mapping[str, Fraction] = MappingProxyType(
    {
        "B": Fraction(1, 1024),
        "kB": Fraction(1),
        "MB": Fraction(1024),
        "GB": Fraction(1024**2),
        "TB": Fraction(1024**3),
    }
)
# The unit of a plain number: the setting's own unit in pg_settings.
BASE_KB: Mapping[str, int] = MappingProxyType(
    {
        "shared_buffers": 8, "effective_cache_size": 8, "wal_buffers": 8,
        "work_mem": 1, "maintenance_work_mem": 1, "autovacuum_work_mem": 1,
        "min_wal_size": 1024, "max_wal_size": 1024,
    }
)  # fmt: skip
BY_ITSELF = ("autovacuum_work_mem", "wal_buffers")  # may be -1: the server derives the value from another setting
MOST_KB = 2**31 - 1  # the largest maximum of these settings on a 64-bit server


def parse_size_kb(name: str, value: str) -> int:
    """Return the size in kB, rounded up: `64MB` → 65536; -1: the server decides.

    A plain number is in the setting's own unit. Raises SettingRefused.
    """
    base_kb = BASE_KB[name]
    if name in BY_ITSELF and value.strip() == "-1":
        return -1
    match = re.fullmatch(r"(\d{1,15}(?:\.\d{0,9})?|\.\d{1,9})\s*([A-Za-z]*)", value.strip(), re.ASCII)
    if match is None or (match[2] and match[2] not in UNITS_KB):
        own = f"{base_kb} kB" if base_kb != 1 else "kB"
        raise SettingRefused(
            f"pgvector:settings: {name} = {value!r} is no size\n"
            f"  allowed: a number with one of the units {', '.join(UNITS_KB)} (upper and lower case matter), like 64MB;"
            f" without a unit it counts {own}" + (", and -1" if name in BY_ITSELF else "")
        )
    kb = math.ceil(Fraction(match[1]) * (UNITS_KB[match[2]] if match[2] else base_kb))
    if not 0 < kb <= MOST_KB:
        raise SettingRefused(f"pgvector:settings: {name} = {value!r}: allowed is more than 0 and less than 2TB")
    return kb


def count(name: str, value: str, *, least: int = 0) -> int:
    """Parse a whole number. Raises SettingRefused for anything else, and for less than `least`."""
    if re.fullmatch(r"\d{1,9}", value.strip(), re.ASCII) is None or int(value) < least:
        raise SettingRefused(f"pgvector:settings: {name} = {value!r}: allowed is a whole number from {least}")
    return int(value)


def parse_factor(name: str, value: str) -> Fraction:
    """Parse a number from 1 to 1000. Raises SettingRefused for anything else."""
    if re.fullmatch(r"\d{1,4}(\.\d{0,9})?", value.strip(), re.ASCII) is None or not 1 <= Fraction(value) <= 1000:
        raise SettingRefused(f"pgvector:settings: {name} = {value!r}: allowed is a number from 1 to 1000")
    return Fraction(value)

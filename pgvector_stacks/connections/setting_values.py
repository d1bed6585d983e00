"""Decides whether two spellings of a setting mean the same value, by PostgreSQL's own parsing rules. Pure.

Invariant: `are_equal` says yes for exactly those spellings that the server stores as one value (guc.c: parse_bool,
parse_int, parse_real, convert_to_base_unit, config_enum_lookup_by_name). The rules of string settings are known only
to the server, so strings are compared as they are, and lists element by element.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

# From the largest to the smallest unit: a fraction is rounded to a multiple of the next smaller unit.
BYTES: Mapping[str, int] = MappingProxyType({"TB": 1024**4, "GB": 1024**3, "MB": 1024**2, "kB": 1024, "B": 1})
MICROSECONDS: Mapping[str, int] = MappingProxyType(
    {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
)
BOOLEANS: Mapping[str, tuple[str, int]] = MappingProxyType(  # the word, and how many of its letters suffice
    {"true": ("on", 1), "yes": ("on", 1), "on": ("on", 2), "1": ("on", 1),
     "false": ("off", 1), "no": ("off", 1), "off": ("off", 2), "0": ("off", 1)}
)  # fmt: skip
SWITCHES: Mapping[str, str] = MappingProxyType(
    {"true": "on", "yes": "on", "1": "on", "false": "off", "no": "off", "0": "off"}
)
# Synonyms that pg_settings.enumvals does not show, by setting.
HIDDEN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "wal_level": {"archive": "replica", "hot_standby": "replica"},
        "wal_compression": {"on": "pglz"},
        "client_min_messages": {"debug": "debug2"},
        "log_min_messages": {"debug": "debug2"},
        "log_min_error_statement": {"debug": "debug2"},
    }
)
LISTS = frozenset(
    {"search_path", "temp_tablespaces", "shared_preload_libraries", "session_preload_libraries", "log_destination",
     "local_preload_libraries", "listen_addresses", "unix_socket_directories", "debug_io_direct",
     "wal_consistency_checking", "createrole_self_grant", "restrict_nonsystem_relation_kind"}
)  # fmt: skip
# Lists that the server stores with each element quoted (GUC_LIST_QUOTE); it stores other lists as one string.
QUOTED_LISTS = frozenset(
    {"search_path", "temp_tablespaces", "shared_preload_libraries", "session_preload_libraries",
     "local_preload_libraries", "unix_socket_directories"}
)  # fmt: skip
FOLDED = frozenset({"log_timezone", "timezone"})  # names of time zone files, which are found in any case
_INTEGER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_REAL = re.compile(r"[ \t\n\v\f\r]*([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
_HEXADECIMAL = re.compile(  # strtod accepts hexadecimal floats too: 0x1.8p1
    r"[ \t\n\v\f\r]*([+-]?0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?[0-9]+)?)"
)
_UNIT = re.compile(r"[ \t\n\v\f\r]*([^ \t\n\v\f\r]*)[ \t\n\v\f\r]*")
MOST = 2**63 - 1


def are_equal(name: str, kind: str, unit: str | None, one: str, other: str) -> bool:
    """Return True if both spellings mean the same value. `kind`: pg_settings.vartype; `unit`: pg_settings.unit."""
    if one == other:
        return True
    name = name.lower()
    if kind in ("integer", "real"):
        numbers = [parse_number(kind, unit, text) for text in (one, other)]
        return None not in numbers and _shown(kind, numbers[0]) == _shown(kind, numbers[1])
    if kind == "bool":
        words = {parse_boolean(one), parse_boolean(other)}
        return len(words) == 1 and None not in words
    if kind == "enum":
        return _enumerated(name, one) == _enumerated(name, other)
    if name in LISTS:
        return list(_elements(one)) == list(_elements(other))
    return name in FOLDED and one.lower() == other.lower()


def _shown(kind: str, value: float | None) -> str:
    # pg_settings shows six digits of a real
    return f"{value:g}" if kind == "real" and value is not None else str(value)


def parse_boolean(text: str) -> str | None:
    """Return `on` or `off`; None for other text. Any unambiguous prefix of a word is accepted."""
    word = text.lower()
    for whole, (meaning, enough) in BOOLEANS.items():
        if len(word) >= enough and whole.startswith(word):
            return meaning
    return None


def _enumerated(name: str, text: str) -> str:
    word = text.lower()
    word = SWITCHES.get(word, word)
    return HIDDEN.get(name, {}).get(word, word)


def parse_number(kind: str, unit: str | None, text: str) -> float | None:
    """Return the number in the setting's own unit, rounded as the server rounds; None for text that is not a number."""
    value, rest = _read(text, kind)
    if value is None:
        return None
    match = _UNIT.fullmatch(rest)
    if match is None:
        return None
    if match[1]:
        value = convert_unit(value, match[1], unit)
        if value is None:
            return None
    return value if kind == "real" else float(round(value))  # half to even, as rint


def _read(text: str, kind: str) -> tuple[float | None, str]:
    """Return (the leading number, the remaining text), read as strtol with base 0 and strtod do."""
    if kind == "integer" and (match := _INTEGER.match(text)):
        digits = match[2]
        base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
        rest = text[match.end() :]
        value = int(digits, base)
        if rest[:1] not in (".", "e", "E") and value <= MOST:
            return float(-value if match[1] == "-" else value), rest
    if hexadecimal := _HEXADECIMAL.match(text):
        return float.fromhex(hexadecimal[1]), text[hexadecimal.end() :]
    real = _REAL.match(text)
    return (None, text) if real is None else (float(real[1]), text[real.end() :])


def convert_unit(value: float, unit: str, own: str | None) -> float | None:
    """Convert a value to the setting's own unit: `1.5`, `GB` in `8kB` is 196608.0. None for a unit of another kind."""
    match = re.fullmatch(r"(\d*)(\w+)", own or "")
    if match is None:
        return None
    for table in (BYTES, MICROSECONDS):
        if match[2] in table and unit in table:
            return _converted(value, unit, table, int(match[1] or 1) * table[match[2]])
    return None


def _converted(value: float, unit: str, table: Mapping[str, int], own: int) -> float:
    names: Sequence[str] = list(table)
    place = names.index(unit)
    converted = value * _divide_unit(table[unit], own)
    if place + 1 < len(names):
        smaller = _divide_unit(table[names[place + 1]], own)
        converted = round(converted / smaller) * smaller
    return converted


def _divide_unit(size: int, own: int) -> float:
    """Return the conversion factor as the server's tables have it: a whole number, or its reciprocal."""
    return float(size // own) if size >= own else 1.0 / (own // size)


def split_setting(name: str, text: str) -> list[str]:
    """Split a stored setting into the values to give to ALTER … SET, so that the server stores the same text.

    >>> split_setting("search_path", '"", "a""b, c", app'), split_setting("log_destination", "csvlog, stderr")
    (['', 'a"b, c', 'app'], ['csvlog, stderr'])
    """
    if name.lower() not in QUOTED_LISTS:
        return [text]
    found = re.findall(r'\s*(?:("(?:[^"]|"")*")|([^,]+?))\s*(?:,|$)', text)
    return [quoted[1:-1].replace('""', '"') if quoted else plain for quoted, plain in found]


def _elements(text: str) -> Iterator[str]:
    """Yield the elements of a list, without quotes and surrounding blanks."""
    for quoted, plain in re.findall(r'\s*(?:"((?:[^"]|"")*)"|([^,]*))\s*(?:,|$)', text):
        if quoted:
            yield quoted.replace('""', '"')
        elif plain.strip():
            yield plain.strip()

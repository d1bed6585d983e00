"""Decides which libraries a backup may name: only plain names, which the server finds in its own folder. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pgvector_stacks.common.plain_text import one_line

SETTINGS = ("session_preload_libraries", "local_preload_libraries", "shared_preload_libraries")
PLACES = ("dynamic_library_path", "extension_control_path")
PLAIN = re.compile(r"(?:\$libdir/)?[A-Za-z0-9_][A-Za-z0-9_.-]*")


def find_unsafe_library(values: Iterable[str]) -> str:
    """Return the first library, in these comma-separated lists, that isn't a plain name; "" if all are.

    >>> find_unsafe_library(["pg_stat_statements, $libdir/auto_explain"])
    ''
    >>> find_unsafe_library(["auto_explain,/tmp/evil"])
    '/tmp/evil'
    """
    names = (one.strip().strip('"') for value in values for one in value.split(","))
    return next((name for name in names if name and not PLAIN.fullmatch(name)), "")


def explain_unsafe_setting(setting: str, values: Iterable[str]) -> str:
    """Explain why this setting may let the server load a library from any folder; "" if it can't."""
    name = setting.lower()
    if name in PLACES:
        return f"{name} says where the server looks for libraries"
    found = find_unsafe_library(values) if name in SETTINGS else ""
    return f"{name}: {one_line(found)} is not a library of the server's own folder" if found else ""

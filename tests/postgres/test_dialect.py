"""No script changes how its own strings are read: the server reads all of them before the first statement runs."""

from __future__ import annotations

import pytest

from postgres.errors import ScriptError
from tests.conftest import script

AFTER = ";\nINSERT INTO path VALUES ('C:\\\\temp')"


@pytest.mark.parametrize(
    "statement",
    [
        "SET standard_conforming_strings = off", "set local STANDARD_CONFORMING_STRINGS to 'OFF'",
        'SET SESSION "standard_conforming_strings"=0', "SET standard_conforming_strings TO false",
        "SELECT set_config('standard_conforming_strings', 'off', false)",
        "SET /* c */ standard_conforming_strings = no",
        "SELECT pg_catalog.set_config('standard_conforming_strings', v, false) FROM t",
        "DO $$ BEGIN SET LOCAL standard_conforming_strings = off; END $$",
        "DO 'BEGIN PERFORM set_config(''standard_conforming_strings'', ''off'', true); END'",
    ],
)  # fmt: skip
def test_a_script_that_turns_standard_conforming_strings_off_is_refused(statement: str) -> None:
    with pytest.raises(ScriptError, match=r"2:1: standard_conforming_strings would not be on[\s\S]*E'…'"):
        script("CREATE TABLE path (p text);\n" + statement + AFTER)


@pytest.mark.parametrize(
    "statement",
    [
        "SET standard_conforming_strings = on", "set local standard_conforming_strings to 'on'",
        "SELECT set_config('standard_conforming_strings', 'on', false)", "SET standard_conforming_strings TO DEFAULT",
        "RESET standard_conforming_strings", "SHOW standard_conforming_strings", "SET escape_string_warning = off",
        "SELECT 'SET standard_conforming_strings = off'", "COMMENT ON TABLE t IS 'standard_conforming_strings = off'",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET standard_conforming_strings = off AS $$ SELECT 1 $$",
        "DO $$ BEGIN SET LOCAL standard_conforming_strings = on; END $$",
    ],
)  # fmt: skip
def test_what_leaves_them_on_is_not(statement: str) -> None:
    assert script(statement + AFTER).name


def test_without_a_backslash_behind_it_nothing_reads_otherwise() -> None:
    assert script("SELECT E'\\n'; SET standard_conforming_strings = off; INSERT INTO path VALUES ('C:/temp')").name

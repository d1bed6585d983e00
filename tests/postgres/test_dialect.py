"""No script runs otherwise than where it was written for: strings read otherwise, or a way back in the same file."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgvector_stacks.common.errors import PlanRefused
from pgvector_stacks.migrations.scripts.planning import Applied, plan
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
    refused = script("CREATE TABLE path (p text);\n" + statement + AFTER)
    with pytest.raises(PlanRefused, match=r"2:1: standard_conforming_strings would not be on[\s\S]*E'…'"):
        plan([refused], [], where="local")
    ran = Applied(refused.name, 1, refused.sha256, refused.normalised, datetime.now(UTC), "somebody")
    assert plan([refused], [ran], where="local").pending == ()  # by an earlier version, which didn't ask


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
    assert plan([script(statement + AFTER)], [], where="local").pending


def test_without_a_backslash_behind_it_nothing_reads_otherwise() -> None:
    text = "SELECT E'\\n'; SET standard_conforming_strings = off; INSERT INTO path VALUES ('C:/temp')"
    assert plan([script(text)], [], where="local").pending


@pytest.mark.parametrize("mark", ["-- +goose Down", "-- +migrate Down", "--migrate:down transaction:false"])
def test_a_script_that_holds_its_own_way_back_is_refused(mark: str) -> None:
    both = script(f"-- up\nCREATE TABLE path (p text);\n{mark}\nDROP TABLE path;")
    with pytest.raises(PlanRefused, match=r"3:1: what follows `--.*` undoes the script[\s\S]*remove that part"):
        plan([both], [], where="local")
    ran = Applied(both.name, 1, both.sha256, both.normalised, datetime.now(UTC), "somebody")
    assert plan([both], [ran], where="local").pending == ()
    for text in (f"SELECT 1;\n{mark}\n", f"SELECT '\n{mark}\n'; SELECT 2"):
        assert plan([script(text)], [], where="local").pending

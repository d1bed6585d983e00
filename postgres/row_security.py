"""Says where FORCE ROW LEVEL SECURITY lets the owner's scripts see a part of a table alone.

Verify scripts run with `row_security = off`: the server then refuses what it would hide. Scripts don't: that would
refuse as well an INSERT that the policy allows and a foreign key to the table, in scripts that nobody may edit now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg import Connection

from postgres.scripts import Script

FORCED = """
SELECT c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname)
  FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relrowsecurity AND c.relforcerowsecurity AND c.relowner = 'schema_owner'::pg_catalog.regrole
 ORDER BY 2
"""
READS = re.compile(r"\b(?:update|delete|select|merge)\b", re.IGNORECASE)
DECIDED = re.compile(r"\brow_security\b", re.IGNORECASE)


def warnings(connection: Connection[Any], scripts: Iterable[Script]) -> list[str]:
    """A line a script and table. Nothing where the script itself says what `row_security` is to be."""
    forced = connection.execute(FORCED).fetchall()
    return [
        f"{script.path}: {identity} has FORCE ROW LEVEL SECURITY: the script sees only the rows that its policies let"
        " schema_owner see.\n  Say  SET row_security = off  in it (then hidden rows are an error), or  = on  where that"
        " is meant"
        for script in scripts
        if READS.search(script.text) and not DECIDED.search(script.text)
        for name, identity in forced
        if re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", script.text, re.IGNORECASE)
    ]

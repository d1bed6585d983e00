"""Says where row level security lets the owner's scripts see a part of a table alone: FORCE, or another's table.

Verify scripts run with `row_security = off`: the server then refuses what it would hide. Scripts don't: that would
refuse as well an INSERT that the policy allows and a foreign key to the table, in scripts that nobody may edit now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg import Connection

from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.migrations.scripts.script_files import Script

# Tables whose policies hold for schema_owner, and the views that read them
HIDING = """
WITH RECURSIVE hiding AS (
    SELECT c.oid, c.oid AS relation FROM pg_catalog.pg_class c
     WHERE c.relrowsecurity
       AND (c.relforcerowsecurity OR NOT pg_catalog.pg_has_role('schema_owner', c.relowner, 'USAGE'))
     UNION
    SELECT hiding.oid, r.ev_class
      FROM hiding
      JOIN pg_catalog.pg_depend d ON d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass AND d.refobjid = relation
      JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass
)
SELECT c.relname, pg_catalog.format('%I.%I', n.nspname, c.relname), t.relforcerowsecurity, t.relowner::regrole::text,
       CASE WHEN c.oid <> t.oid THEN pg_catalog.format('%I.%I', m.nspname, t.relname) END
  FROM hiding JOIN pg_catalog.pg_class c ON c.oid = relation JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
  JOIN pg_catalog.pg_class t ON t.oid = hiding.oid JOIN pg_catalog.pg_namespace m ON m.oid = t.relnamespace
 ORDER BY 2, 5
"""
READS = re.compile(r"\b(?:update|delete|select|merge)\b", re.IGNORECASE)
SPEAKS = re.compile(r"\brow\s+level\s+security\b", re.IGNORECASE)
DECIDED = re.compile(r"\brow_security\b", re.IGNORECASE)


def warnings(connection: Connection[Any], scripts: Iterable[Script], *, ran: bool = False) -> list[str]:
    """A line a script and table or view. Nothing where the script itself says what `row_security` is to be.

    `ran`: the scripts have run; one that speaks of row level security knows what it does.
    """
    found = connection.execute(HIDING).fetchall()
    told = []
    for script in scripts:
        if not READS.search(script.text) or DECIDED.search(script.text) or (ran and SPEAKS.search(script.text)):
            continue
        for name, identity, forced, owner, table in found:
            if not re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", script.text, re.IGNORECASE):
                continue
            which = f"{identity} reads {table}, which" if table else identity
            why = "FORCE ROW LEVEL SECURITY" if forced else f"row level security and belongs to {one_line(owner)}"
            told.append(
                f"{script.path}: {which} has {why}: the script sees only the rows that its policies let schema_owner"
                " see.\n  Say  SET row_security = off  in it (then hidden rows are an error), or  = on  where that is"
                " meant"
            )
    return told

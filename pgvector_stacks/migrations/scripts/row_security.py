"""Warns where row level security hides rows from the owner's scripts: in a table with FORCE, or of another owner.

Verify scripts run with `row_security = off`: the server then raises an error instead of hiding rows. Other scripts
don't: that setting would also refuse an INSERT that the policy allows, and a foreign key to the table, in scripts that
have run elsewhere and may not be edited any more.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from psycopg import Connection

from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.migrations.scripts.script_files import Script

# Finds tables whose policies apply to schema_owner, and the views that read these tables
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


def warn_of_hidden_rows(connection: Connection[Any], scripts: Iterable[Script], *, ran: bool = False) -> list[str]:
    """Return a warning for each script and each table or view with hidden rows that the script may read.

    A script that names `row_security` gets none: its author has decided. `ran`: the scripts have run; then a script
    that names row level security gets no warning either.
    """
    found = connection.execute(HIDING).fetchall()
    warnings = []
    for script in scripts:
        if not READS.search(script.text) or DECIDED.search(script.text) or (ran and SPEAKS.search(script.text)):
            continue
        for name, identity, forced, owner, table in found:
            if not re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])", script.text, re.IGNORECASE):
                continue
            which = f"{identity} reads {table}, which" if table else identity
            why = "FORCE ROW LEVEL SECURITY" if forced else f"row level security and belongs to {one_line(owner)}"
            warnings.append(
                f"{script.path}: {which} has {why}: the script sees only the rows that its policies let schema_owner"
                " see.\n  Say  SET row_security = off  in it (then hidden rows are an error), or  = on  where that is"
                " meant"
            )
    return warnings

"""Manages the owner's session while scripts run in it, one after the other.

Invariant: each script finds the session that a new connection would have, and the rights that separate `up`s for the
scripts before it would have left. So the same scripts create the same database however they are split into ups.

`tail` is the end of each script's message. It resets role, session authorization, deferred constraints, sequence values
and settings, and ends cursors, temporary objects, prepared statements, plans, LISTENs and advisory locks.

`follow` runs after that. Changes by ALTER DATABASE and ALTER ROLE take effect for the next script, also for its RESETs
(`migrations/scripts/resets.py`), and the rights on the objects that the script created are granted.

A session can't forget three things:

- a custom setting (`SET app.tenant`), which is empty afterwards instead of unset,
- the effect of SET CONSTRAINTS ALL on constraints that are created later,
- the values that the connection began with, to which a RESET inside a function returns.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.connections.connection import format_server_message
from pgvector_stacks.connections.lock_retry import RETRIABLE
from pgvector_stacks.migrations.scripts import application_rights, effects, kept_settings, resets
from pgvector_stacks.migrations.scripts.script_files import Script

ROLE = ("RESET SESSION AUTHORIZATION", "RESET ROLE")
# DISCARD PLANS: the plan of a function keeps its tables, even if a later script creates one that the path finds first
REST = ("CLOSE ALL", "DISCARD TEMP", "DISCARD SEQUENCES", "DEALLOCATE ALL", "DISCARD PLANS", "UNLISTEN *")
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock_all()"
OUR_PATH = "SET search_path = pg_catalog, pg_temp"
OUR_ENCODING = "SET client_encoding = 'UTF8'"  # a function may have set another encoding
SETTINGS = "RESET ALL"
END = ";".join([*ROLE, *REST, UNLOCK, SETTINGS])
CLOSES_PUBLIC = re.compile(r"\brevoke\b[^;]*\bon\s+schema\b[^;]*\bpublic\b[^;]*\bfrom\b[^;]*\bpublic\b", re.IGNORECASE)
HALF = 1 << 31  # half of the OIDs, which have 32 bits and wrap around


class Session:
    """The owner's session for the scripts of a group. Call `begin` for each group and each attempt.

    `underneath`: returns the values that settings would have if no database and no role set them. It is called when a
    script removes such a setting.
    """

    def __init__(
        self,
        connection: Connection[Any],
        underneath: Callable[[Sequence[str]], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.connection = connection
        self.underneath = underneath
        self.again: list[str] = []  # statements that set again what RESET ALL resets
        self.holds: dict[str, str] = {}  # by setting, the SQL constant that only a new connection would begin with
        with connection.transaction(force_rollback=True):
            self._load_libraries()
            self.opened = self._settings()
        self.seen = self.opened
        self.ours: frozenset[str] = frozenset()
        self.lock_timeout_ms = 0.0
        self.since = 0
        self.known: set[int] = set()
        self.deferring = False
        self.has_code = True  # the database has functions besides PostgreSQL's and pgvector's
        self.retyped = self.unfollowed = False
        self.held: dict[str, list[int]] = {}  # by role, OIDs of objects on which the script's rest grants it rights

    def _load_libraries(self) -> None:
        """Load the libraries of PL/pgSQL and pgvector, whose settings a session has only after their first use.

        Only a superuser may set what no loaded library defines. So ALTER DATABASE … SET hnsw.ef_search would fail or
        succeed depending on what ran before in the same session.
        """
        self.connection.execute("DO LANGUAGE plpgsql 'BEGIN END'")
        found = self.connection.execute(
            "SELECT pg_catalog.quote_ident(n.nspname) FROM pg_catalog.pg_extension e"
            " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) e.extnamespace"
            " WHERE e.extname OPERATOR(pg_catalog.=) 'vector' AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')"
        ).fetchone()
        if found:
            self.connection.execute(f"SELECT {found[0]}.vector_dims('[1]'::{found[0]}.vector)".encode())

    def begin(self, settings: Mapping[str, str] | None = None) -> None:
        """Record which objects and settings exist before a group's scripts run.

        `settings`: the database and role settings that the script's session began with; None for the current ones.
        """
        with self.connection.transaction(force_rollback=True):
            (row,) = self._ask(queries.get("session_opening"))
        _, ours, lock, has_limit, self.deferring, self.since, self.has_code = row
        self.ours = frozenset(ours) | {"role"}  # our options set role, too, but no view shows that
        self.lock_timeout_ms = float(lock)
        self.again = ["SET transaction_timeout = 0"] if has_limit else []
        self.holds = {}
        self.unfollowed = False
        self.held = {}
        self.known = {one.oid for one in self._new()}
        self.seen = self.opened
        self._adopt(self._settings() if settings is None else dict(settings))

    def text(self, script: Script) -> tuple[str, Sequence[resets.AddedStatement]]:
        """Return the script as it is sent, and the statements that were added to it."""
        return resets.add_statements_after_resets(
            script, kept_settings.protect_limits(script, self.lock_timeout_ms), self.holds
        )

    def before(self, script: Script) -> bool:
        """Grant the rights that are due if this script may read or change them, and return whether it may.

        If not, the server need not be asked after the script what changed.
        """
        text = effects.remove_constants(script.text).lower()
        self.deferring = self.deferring or "defer" in text  # INITIALLY DEFERRED is enough
        self.has_code = self.has_code or effects.may_create_code(text)
        self.retyped = self.has_code and effects.may_change_types(text)
        noisy = effects.is_noisy(text, has_code=self.has_code, deferring=self.deferring)
        if noisy:
            self.finish()
        return noisy

    def tail(self, noisy: bool) -> tuple[list[str], int | None]:
        """Return the statements that end the script's session, and the index of the one that checks constraints."""
        settle = [_plain("session_constraints")] if noisy and self.deferring else []
        looks = [UNLOCK, OUR_PATH, OUR_ENCODING, self._look(), _plain("session_settings")] if noisy else []
        code_again = [_plain("session_code")] if self.retyped else []
        return [*ROLE, *settle, *REST, *code_again, *looks, SETTINGS, *self.again], len(ROLE) if settle else None

    def follow(self, script: Script, noisy: bool, looks: Sequence[Sequence[tuple[str, ...]]]) -> None:
        """Apply rights and settings after a script. `looks`: the answers to the queries of `tail`. Raises SqlFailed."""
        if not noisy:
            self.unfollowed = True
            return
        try:
            for rows in looks:
                if rows and rows[0][0] == "settings":
                    self._adopt(json.loads(rows[0][1]))
            self._follow([_object(row) for rows in looks for row in rows if row[0] == "object"], [script])
            if CLOSES_PUBLIC.search(script.text):
                self._keep_public(script)
        except psycopg.Error as error:
            if self.connection.closed or error.sqlstate in RETRIABLE:
                raise
            raise _not_followed(script, error) from None

    def finish(self) -> None:
        """Grant the rights on the objects of those scripts after which the server was not asked what changed."""
        if not self.unfollowed:
            return
        self.unfollowed = False
        try:
            self._follow(self._new(), [])
        except psycopg.Error as error:
            if self.connection.closed or error.sqlstate in RETRIABLE:
                raise
            raise SqlFailed(
                f"what the scripts made can't be given its rights: {format_server_message(error)} ({error.sqlstate})",
                sqlstate=error.sqlstate or "",
            ) from None

    def follow_step(self, script: Script, rest_start: int) -> Mapping[str, Sequence[int]]:
        """Grant the rights on what a step of a no-transaction script created. The session's settings stay as they are.

        If the script, from the offset `rest_start` on, grants a role rights on an object, only those rights count: the
        object is held back for that role. Return the OIDs held back by role, including those of earlier steps.
        """
        with self.connection.transaction(force_rollback=True):
            created = self._since_begin()
        self._give_or_hold(created, script, rest_start)
        self.known |= {one.oid for one in created}  # not other roles' objects: a later step may give them to the owner
        return self.held

    def follow_earlier_steps(self, script: Script, rest_start: int, names: Collection[str]) -> None:
        """Grant the rights on what a no-transaction script created in a session that was lost before it could do so.

        No record shows these objects. Or an unrecorded step, whose `names` are noted, replaced a recorded object: then
        nobody has granted or revoked anything on it yet. `rest_start`: as for `follow_step`. Call `begin` first.
        """
        condition = _UNRECORDED.replace("{names}", sql.Literal(sorted(names)).as_string(self.connection))
        with self.connection.transaction(force_rollback=True):
            created = self._created(condition)
        self._give_or_hold(created, script, rest_start)

    def _give_or_hold(
        self, created: Sequence[application_rights.CreatedObject], script: Script, rest_start: int
    ) -> None:
        later = application_rights.parse_grants(script, rest_start)
        looked = []
        for one in created:
            held = {word.role for word in later if word.meets(one)}
            held |= {role for role, oids in self.held.items() if one.parent in oids}
            for role in held - one.says:
                if one.oid not in self.held.setdefault(role, []):
                    self.held[role].append(one.oid)
            looked.append(replace(one, says=one.says | held))
        self._give(looked, [script])

    def follow_apart(self, script: Script) -> None:
        """End the session of a no-transaction script, and apply the rights and settings that follow from it."""
        self.connection.execute(END.encode())
        if effects.may_change_types(effects.remove_constants(script.text).lower()):
            self.connection.execute(queries.get("session_code"))
        self._give(self._since_begin(), [script])
        if self.held:
            there = [one for one in self._created() if any(one.oid in oids for oids in self.held.values())]
            for role, oids in self.held.items():
                others = frozenset(application_rights.ROLES) - {role}
                self._give([replace(one, says=one.says | others) for one in there if one.oid in oids], [script])
        self._adopt(self._settings())

    def _adopt(self, now: dict[str, str]) -> None:
        """Give the session the settings of a new connection; `now`: what database and role set currently."""
        if now == self.seen:
            return
        self.seen = now
        gone = [name for name in self.opened if name not in now and name not in self.ours]
        wanted = {name: value for name, value in now.items() if self.opened.get(name) != value}
        if gone:
            wanted |= {name: "" for name in gone if "." in name} | dict(self.underneath(gone))
        self.again = [statement for statement in self.again if "transaction_timeout" in statement]
        self.holds = {}
        self.connection.execute(";".join([SETTINGS, *self.again]).encode())
        for name, value in wanted.items():
            if name in self.ours or name == "transaction_timeout":
                continue
            statement = sql.SQL("SELECT pg_catalog.set_config({}, {}, false)").format(name, value)
            try:
                with self.connection.transaction():
                    self.connection.execute(statement)
            except psycopg.Error as error:  # a new connection would only warn of an invalid value
                if self.connection.closed or error.sqlstate in RETRIABLE:
                    raise
                continue
            self.again.append(statement.as_string(self.connection))
            self.holds[name] = sql.Literal(value).as_string(self.connection)

    def _window(self, oid: str) -> str:
        """Return the SQL condition that an OID was assigned since the last query for new objects."""
        end = self.since + HALF
        if end < 2 * HALF:
            return f"({oid} >= {self.since} AND {oid} < {end})"
        return f"({oid} >= {self.since} OR {oid} < {end - 2 * HALF})"

    def _look(self, *, everything: bool = False) -> str:
        text = _plain("rights_created")
        for place, oid in (("{window_of_relation}", "c.oid"), ("{window_of_schema}", "n.oid")):
            text = text.replace(place, "true" if everything else self._window(oid))
        return text

    def _new(self) -> list[application_rights.CreatedObject]:
        return [_object(row) for row in self._ask(self._look())]

    def _since_begin(self) -> list[application_rights.CreatedObject]:
        """Return the owner's objects that were created since `begin` and have not been given their rights."""
        return [one for one in self._new() if one.owned and one.oid not in self.known]

    def _created(self, condition: str = "") -> list[application_rights.CreatedObject]:
        """Return all objects of the scripts' owner, or those that the SQL `condition` selects."""
        found = [_object(row) for row in self._ask(self._look(everything=True) + condition)]
        return [one for one in found if one.owned]

    def _settings(self) -> dict[str, str]:
        ((_, text),) = self._ask(_plain("session_settings"))
        found: dict[str, str] = json.loads(text)
        return found

    def _ask(self, query: str) -> Iterable[tuple[Any, ...]]:
        """Run the query with a search_path that has no users' functions, restore the path, and return the rows."""
        text = ";".join([OUR_PATH, query, "RESET search_path", *self.again])
        cursor = self.connection.execute(text.encode())
        cursor.nextset()
        return cursor  # not a list: there may be tens of thousands of rows

    def _follow(self, created: Sequence[application_rights.CreatedObject], scripts: Sequence[Script]) -> None:
        """Grant the rights that are due on objects created since the last query for new objects."""
        self._give([one for one in created if one.owned and one.oid not in self.known], scripts)
        ahead = [(one.oid - self.since) % (2 * HALF) for one in created]
        self.since = (self.since + max((a for a in ahead if a < HALF), default=-1) + 1) % (2 * HALF)

    def _give(self, created: Sequence[application_rights.CreatedObject], scripts: Sequence[Script]) -> None:
        if not created:
            return
        grants = application_rights.find_due_grants(
            created, [word for script in scripts for word in application_rights.parse_revokes(script)]
        )
        wanted = [*application_rights.build_grants(grants), *self._by_columns(grants)]
        if wanted:
            self.connection.execute(";".join(wanted).encode())

    def _by_columns(self, grants: Sequence[application_rights.Grant]) -> list[str]:
        statements = []
        for grant in grants:
            if grant.but:
                rows = self.connection.execute(
                    "SELECT attname FROM pg_catalog.pg_attribute WHERE attrelid = %s AND attnum > 0"
                    " AND NOT attisdropped AND NOT attname = ANY(%s) ORDER BY attnum",
                    (grant.created.oid, list(grant.but)),
                ).fetchall()
                columns = ", ".join(application_rights.quote_identifier(name) for (name,) in rows)
                what = ", ".join(f"{privilege} ({columns})" for privilege in grant.privileges)
                statements += [f"GRANT {what} ON {grant.created.identity} TO {grant.role}"] if rows else []
        return statements

    def _keep_public(self, script: Script) -> None:
        """Grant USAGE on the schema public to the two roles, which had it only through PUBLIC until this script."""
        public = application_rights.CreatedObject(0, "SCHEMA", "public", "", "public")
        lost = {word.role for word in application_rights.parse_revokes(script) if word.meets(public)}
        for role in application_rights.ROLES:
            row = self.connection.execute(
                "SELECT pg_catalog.has_schema_privilege(%s, 'public', 'USAGE')", (role,)
            ).fetchone()
            if role not in lost and row and not row[0]:
                self.connection.execute(f"GRANT USAGE ON SCHEMA public TO {role}".encode())


_UNRECORDED = """ WHERE NOT EXISTS (SELECT FROM pgstack.object o
      WHERE o.kind <> 'column' AND o.identity = coalesce(object.belongs, object.identity))
   OR (EXISTS (SELECT FROM pg_catalog.unnest({names}::pg_catalog.text[]) AS name
                WHERE name IN (object.relname, CASE WHEN object.kind = 'SCHEMA' THEN object.nspname END)
                   OR object.belongs = pg_catalog.format('%I.%I', object.nspname, name))
       AND CASE object.kind WHEN 'SCHEMA' THEN (SELECT nspacl FROM pg_catalog.pg_namespace n WHERE n.oid = object.oid)
           ELSE (SELECT relacl FROM pg_catalog.pg_class c WHERE c.oid = object.oid) END IS NULL)"""


def make_default_reader(admin: Connection[Any]) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """Return a function for `Session.underneath` that asks over the administrator's connection in another database."""

    def ask(names: Sequence[str]) -> dict[str, str]:
        return dict(admin.execute(queries.get("setting_underneath"), (list(names),)).fetchall())

    return ask


def _object(row: Sequence[Any]) -> application_rights.CreatedObject:
    """Return the object of a row of rights_created, whose columns are text."""
    _, oid, kind, schema, name, identity, app, readonly, parent, app_there, readonly_there, belongs, owned = row
    says = application_rights.intern_roles(app == "true", readonly == "true")
    app_may, readonly_may = (
        application_rights.intern_privileges(*(listed or "").split(",")) for listed in (app_there, readonly_there)
    )
    return application_rights.CreatedObject(
        int(oid), sys.intern(kind), sys.intern(schema), name, identity, says, int(parent), (app_may, readonly_may),
        belongs or "", owned == "true",
    )  # fmt: skip


def _plain(name: str) -> str:
    """Return a query without its comment lines, so that it can be sent in one message with others."""
    return "\n".join(line for line in queries.get(name).splitlines() if not line.startswith("--"))


def _not_followed(script: Script, error: psycopg.Error) -> SqlFailed:
    return SqlFailed(
        f"{script.path}: what it made can't be given its rights, or what it set can't be read: "
        f"{format_server_message(error)} ({error.sqlstate})",
        sqlstate=error.sqlstate or "",
        script=script.name,
    )

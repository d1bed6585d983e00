"""The owner's session while scripts run in it, one behind the other.

Invariant: each script finds the session that a new connection would have, and the rights that an `up` of its own would
have left; so the same scripts make the same database however they are cut into ups.

Behind each script, in its own message (`tail`): role and session authorization, deferred constraints, cursors,
temporary objects, prepared statements, listens, advisory locks, sequence values and settings end. Then `follow`: what
ALTER DATABASE and ALTER ROLE changed holds for the next script, and what the script made gets its rights.
RESET in a script goes back to that too (`migrations/scripts/resets.py`).
Three things a session can't forget: a custom setting (`SET app.tenant`) is empty afterwards, and not unset; what SET
CONSTRAINTS ALL says of constraints that are made later; and what it began with, to which a function's RESET goes back.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import psycopg
from psycopg import Connection, sql

from pgvector_stacks.common import queries
from pgvector_stacks.common.errors import SqlFailed
from pgvector_stacks.connections.connection import said
from pgvector_stacks.connections.lock_retry import RETRIABLE
from pgvector_stacks.migrations.scripts import application_rights, effects, kept_settings, resets
from pgvector_stacks.migrations.scripts.script_files import Script

ROLE = ("RESET SESSION AUTHORIZATION", "RESET ROLE")
REST = ("CLOSE ALL", "DISCARD TEMP", "DISCARD SEQUENCES", "DEALLOCATE ALL", "UNLISTEN *")
UNLOCK = "SELECT pg_catalog.pg_advisory_unlock_all()"
OUR_PATH = "SET search_path = pg_catalog, pg_temp"
OUR_ENCODING = "SET client_encoding = 'UTF8'"  # a function may have set another
SETTINGS = "RESET ALL"
END = ";".join([*ROLE, *REST, UNLOCK, SETTINGS])
CLOSES_PUBLIC = re.compile(r"\brevoke\b[^;]*\bon\s+schema\b[^;]*\bpublic\b[^;]*\bfrom\b[^;]*\bpublic\b", re.IGNORECASE)
HALF = 1 << 31  # OIDs are 32 bits and begin again


class Session:
    """Follows a group's scripts on the owner's connection. `begin` it for each group and each attempt.

    `underneath`: what settings would be if no database and no role set them, asked when a script resets one.
    """

    def __init__(
        self,
        connection: Connection[Any],
        underneath: Callable[[Sequence[str]], Mapping[str, str]] = lambda _: {},
    ) -> None:
        self.connection = connection
        self.underneath = underneath
        self.again: list[str] = []  # statements that put back what RESET ALL takes
        self.holds: dict[str, str] = {}  # by setting, the value that a new connection has and this one doesn't, in SQL
        with connection.transaction(force_rollback=True):
            self._load_libraries()
            self.opened = self._settings()
        self.seen = self.opened
        self.ours: frozenset[str] = frozenset()
        self.lock_timeout_ms = 0.0
        self.since = 0
        self.known: set[int] = set()
        self.deferring = False
        self.has_code = True  # functions that are neither PostgreSQL's nor pgvector's
        self.retyped = self.unfollowed = False
        self.held: dict[str, list[int]] = {}  # by role, what a step made that the script's rest gives it

    def _load_libraries(self) -> None:
        """Load PL/pgSQL and pgvector, as their first use does: until then a session has none of their settings.

        Only the superuser may set what no library knows, so ALTER DATABASE … SET hnsw.ef_search would fail or not
        depending on what ran before in the same session.
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
        """Look at what is there before a group's scripts run.

        `settings`: those of database and role that the session began with; None for today's.
        """
        with self.connection.transaction(force_rollback=True):
            (row,) = self._ask(queries.get("session_opening"))
        _, ours, lock, has_limit, self.deferring, self.since, self.has_code = row
        self.ours = frozenset(ours) | {"role"}  # set by our options, too, but no view shows it
        self.lock_timeout_ms = float(lock)
        self.again = ["SET transaction_timeout = 0"] if has_limit else []
        self.holds = {}
        self.unfollowed = False
        self.held = {}
        self.known = {one.oid for one in self._new()}
        self.seen = self.opened
        self._adopt(self._settings() if settings is None else dict(settings))

    def text(self, script: Script) -> tuple[str, Sequence[resets.Added]]:
        """The script as it is sent, and what was put into it."""
        return resets.as_sent(script, kept_settings.as_sent(script, self.lock_timeout_ms), self.holds)

    def before(self, script: Script) -> bool:
        """Give what is due if this script may see or change it. False where it can't: then nothing has to be asked."""
        text = effects.words_of(script.text).lower()
        self.deferring = self.deferring or "defer" in text  # INITIALLY DEFERRED is enough
        self.has_code = self.has_code or effects.makes_code(text)
        self.retyped = self.has_code and effects.retypes(text)
        noisy = effects.is_noisy(text, has_code=self.has_code, deferring=self.deferring)
        if noisy:
            self.finish()
        return noisy

    def tail(self, noisy: bool) -> tuple[list[str], int | None]:
        """The statements that end the script's session, and which of them checks deferred constraints."""
        settle = [_plain("session_constraints")] if noisy and self.deferring else []
        looks = [UNLOCK, OUR_PATH, OUR_ENCODING, self._look(), _plain("session_settings")] if noisy else []
        anew = [_plain("session_code")] if self.retyped else []
        return [*ROLE, *settle, *REST, *anew, *looks, SETTINGS, *self.again], len(ROLE) if settle else None

    def follow(self, script: Script, noisy: bool, looks: Sequence[Sequence[tuple[str, ...]]]) -> None:
        """Give rights and settings behind a script. `looks`: the answers to the tail's questions. Raises SqlFailed."""
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
        """Give the rights on what the scripts made that weren't asked about."""
        if not self.unfollowed:
            return
        self.unfollowed = False
        try:
            self._follow(self._new(), [])
        except psycopg.Error as error:
            if self.connection.closed or error.sqlstate in RETRIABLE:
                raise
            raise SqlFailed(
                f"what the scripts made can't be given its rights: {said(error)} ({error.sqlstate})",
                sqlstate=error.sqlstate or "",
            ) from None

    def follow_step(self, script: Script, behind: int) -> Mapping[str, Sequence[int]]:
        """Give the rights on what a step of a script outside of a transaction made; its settings stay as they are.

        What the script gives a role in its rest, behind that offset, holds instead: such objects are `held` back for
        that role, and returned with those of the steps before.
        """
        with self.connection.transaction(force_rollback=True):
            created = self._new()
        later = application_rights.granted_by(script, behind)
        looked = []
        for one in created:
            held = {word.role for word in later if word.meets(one)}
            held |= {role for role, oids in self.held.items() if one.parent in oids}
            if one.owned and one.oid not in self.known:
                for role in held - one.says:
                    self.held.setdefault(role, []).append(one.oid)
                looked.append(replace(one, says=one.says | held))
        self._give(looked, [script])
        self.known |= {one.oid for one in looked}  # what another role owns a later step may still give to the owner
        return self.held

    def follow_apart(self, script: Script, *, resumed: bool) -> None:
        """End the session of a script that ran outside of a transaction, and follow it.

        `resumed`: it began in another session; what no group recorded is then taken as its own.
        """
        self.connection.execute(END.encode())
        if effects.retypes(effects.words_of(script.text).lower()):
            self.connection.execute(queries.get("session_code"))
        if resumed:
            self._give(self._created(_UNRECORDED.format("coalesce(object.belongs, object.identity)")), [script])
        else:
            self._follow(self._new(), [script])
        if self.held:
            there = [one for one in self._created() if any(one.oid in oids for oids in self.held.values())]
            for role, oids in self.held.items():
                others = frozenset(application_rights.ROLES) - {role}
                self._give([replace(one, says=one.says | others) for one in there if one.oid in oids], [script])
        self._adopt(self._settings())

    def _adopt(self, now: dict[str, str]) -> None:
        """Make the settings of database and role those that a new connection would have."""
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
            except psycopg.Error as error:  # a new connection would only warn of it
                if self.connection.closed or error.sqlstate in RETRIABLE:
                    raise
                continue
            self.again.append(statement.as_string(self.connection))
            self.holds[name] = sql.Literal(value).as_string(self.connection)

    def _window(self, oid: str) -> str:
        """The condition that an OID was given out since the last look."""
        end = self.since + HALF
        if end < 2 * HALF:
            return f"({oid} >= {self.since} AND {oid} < {end})"
        return f"({oid} >= {self.since} OR {oid} < {end - 2 * HALF})"

    def _look(self, *, everything: bool = False) -> str:
        text = _plain("rights_created")
        for place, oid in (("{window_of_relation}", "c.oid"), ("{window_of_schema}", "n.oid")):
            text = text.replace(place, "true" if everything else self._window(oid))
        return text

    def _new(self) -> list[application_rights.Created]:
        return [_object(row) for row in self._ask(self._look())]

    def _created(self, condition: str = "") -> list[application_rights.Created]:
        """What the owner has, all of it."""
        found = [_object(row) for row in self._ask(self._look(everything=True) + condition)]
        return [one for one in found if one.owned]

    def _settings(self) -> dict[str, str]:
        ((_, text),) = self._ask(_plain("session_settings"))
        found: dict[str, str] = json.loads(text)
        return found

    def _ask(self, query: str) -> Iterable[tuple[Any, ...]]:
        """The rows, found with a path on which nobody's functions lie; the path is put back."""
        text = ";".join([OUR_PATH, query, "RESET search_path", *self.again])
        cursor = self.connection.execute(text.encode())
        cursor.nextset()
        return cursor  # row by row: there may be tens of thousands

    def _follow(self, created: Sequence[application_rights.Created], scripts: Sequence[Script]) -> None:
        """Give what is due on what was made since the last look."""
        self._give([one for one in created if one.owned and one.oid not in self.known], scripts)
        ahead = [(one.oid - self.since) % (2 * HALF) for one in created]
        self.since = (self.since + max((a for a in ahead if a < HALF), default=-1) + 1) % (2 * HALF)

    def _give(self, created: Sequence[application_rights.Created], scripts: Sequence[Script]) -> None:
        if not created:
            return
        grants = application_rights.due(
            created, [word for script in scripts for word in application_rights.revoked_by(script)]
        )
        wanted = [*application_rights.statements(grants), *self._by_columns(grants)]
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
                columns = ", ".join(application_rights.quoted(name) for (name,) in rows)
                what = ", ".join(f"{privilege} ({columns})" for privilege in grant.privileges)
                statements += [f"GRANT {what} ON {grant.created.identity} TO {grant.role}"] if rows else []
        return statements

    def _keep_public(self, script: Script) -> None:
        """PUBLIC lost the schema public: the two roles had it through PUBLIC alone."""
        public = application_rights.Created(0, "SCHEMA", "public", "", "public")
        lost = {word.role for word in application_rights.revoked_by(script) if word.meets(public)}
        for role in application_rights.ROLES:
            row = self.connection.execute(
                "SELECT pg_catalog.has_schema_privilege(%s, 'public', 'USAGE')", (role,)
            ).fetchone()
            if role not in lost and row and not row[0]:
                self.connection.execute(f"GRANT USAGE ON SCHEMA public TO {role}".encode())


_UNRECORDED = " WHERE NOT EXISTS (SELECT FROM pgstack.object o WHERE o.kind <> 'column' AND o.identity = {})"


def underneath(admin: Connection[Any]) -> Callable[[Sequence[str]], Mapping[str, str]]:
    """Asks the administrator's connection, in another database."""

    def ask(names: Sequence[str]) -> dict[str, str]:
        return dict(admin.execute(queries.get("setting_underneath"), (list(names),)).fetchall())

    return ask


def _object(row: Sequence[Any]) -> application_rights.Created:
    """A row of rights_created, as text."""
    _, oid, kind, schema, name, identity, app, readonly, parent, app_there, readonly_there, belongs, owned = row
    says = application_rights.roles(app == "true", readonly == "true")
    app_may, readonly_may = (
        application_rights.privileges(*(listed or "").split(",")) for listed in (app_there, readonly_there)
    )
    return application_rights.Created(
        int(oid), sys.intern(kind), sys.intern(schema), name, identity, says, int(parent), (app_may, readonly_may),
        belongs or "", owned == "true",
    )  # fmt: skip


def _plain(name: str) -> str:
    """A query without its comments, which a `--` in one message with others would take along."""
    return "\n".join(line for line in queries.get(name).splitlines() if not line.startswith("--"))


def _not_followed(script: Script, error: psycopg.Error) -> SqlFailed:
    return SqlFailed(
        f"{script.path}: what it made can't be given its rights, or what it set can't be read: "
        f"{said(error)} ({error.sqlstate})",
        sqlstate=error.sqlstate or "",
        script=script.name,
    )

"""Parses `globals.sql`, the roles of a backup as pg_dumpall writes them. Pure. Its text is never sent to a server.

Each statement begins at the start of a line and ends at the end of one. The parser takes a statement apart and composes
the SQL for the server from its names, its literals and keywords of this file. Anything else is refused with its line
number: psql's commands, functions, other statements. `power` marks a statement that gives a role a superuser's rights.

Sources: pg_dumpall.c (dumpRoles, dumpRoleMembership, dumpRoleGUCPrivs, dumpUserConfig) of PostgreSQL 15 to 18.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from psycopg import sql

from pgvector_stacks.backup.manifest import GLOBALS, MOST, OTHER, BackupRefused
from pgvector_stacks.backup.restoring import libraries
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections.roles import BACKUP

SHOWN = 60  # characters of a refused statement that the message shows
SKIPPED = re.compile(r"\s*|--.*|\\(?:un)?restrict [A-Za-z0-9]+|SET [a-z_]+ = (?:on|off|'[A-Za-z0-9_]+');")
TOKEN = re.compile(
    r"""(?P<blank>[ ]+)|(?P<word>[A-Za-z_][A-Za-z0-9_]*(?!['A-Za-z0-9_$]))|"(?P<name>(?:[^"\0]|"")+)"
    |'(?P<plain>(?:[^'\\\0]|'')*)'|E'(?P<escaped>(?:[^'\\\0]|''|\\\\)*)'|(?P<number>-?[0-9]+)|(?P<mark>[,;])""",
    re.VERBOSE,
)
VERIFIER = re.compile(r"SCRAM-SHA-256\$[0-9]+:[A-Za-z0-9+/=]+\$[A-Za-z0-9+/=]+:[A-Za-z0-9+/=]+|md5[0-9a-f]{32}")
ATTRIBUTES = ("SUPERUSER", "INHERIT", "CREATEROLE", "CREATEDB", "LOGIN", "REPLICATION", "BYPASSRLS")
POWERS = ("SUPERUSER", "REPLICATION", "BYPASSRLS")
# Members of these roles run programs, or read and write files, as the server's user, so they can become superusers.
POWERFUL = ("pg_execute_server_program", "pg_read_server_files", "pg_write_server_files")
ALLOWED = "CREATE ROLE, ALTER ROLE … WITH or SET, COMMENT ON ROLE, GRANT of a role, as pg_dumpall writes them"


@dataclass(frozen=True, slots=True)
class RoleStatement:
    """One statement about roles. `names`: the roles that it names; `command`: its SQL; `bare`: that without a password.

    `makes`: the role that it creates; `power`: why it gives a role a superuser's rights; `group`: the role that gets a
    new member. Each is "" if it does not apply.
    """

    line: int
    names: frozenset[str]
    command: sql.Composed
    bare: sql.Composed
    makes: str = ""
    power: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class RoleToken:
    """A token of a statement. `kind`: word, name, text, number or mark."""

    kind: str
    value: str


def parse(text: str) -> list[RoleStatement]:
    """Return the statements in order. Raises BackupRefused for the first that pg_dumpall can't have written."""
    found, at, number, counted = [], 0, 1, 0
    while at < len(text):
        number, counted = number + text.count("\n", counted, at), at
        end = text.find("\n", at)
        line = text[at : end if end >= 0 else len(text)]
        if SKIPPED.fullmatch(line):
            at += len(line) + 1
            continue
        try:
            tokens, at = _tokenize(text, at)
            found.append(_Reader(tokens, number).parse_statement())
        except _UnknownStatement as unknown:
            _refuse(number, line, unknown)
    return found


def refuse_powers(statements: Iterable[RoleStatement], powerful: Collection[str], *, allowed: bool) -> None:
    """Raise BackupRefused if a statement gives a role a superuser's rights, unless `allowed`.

    `powerful`: the roles whose members have such rights.
    """
    if allowed:
        return
    wrong = []
    for each in statements:
        power = each.power
        if each.group in powerful:
            (member,) = each.names - {each.group} or {each.group}
            power = f"role {one_line(member)} becomes a member of {one_line(each.group)}"
        if power:
            wrong.append(f"  {GLOBALS}, line {each.line}: {power}\n")
    if wrong:
        raise BackupRefused(
            f"the backup gives roles a superuser's rights:\n{''.join(wrong[:MOST])}"
            "  if they are meant to have them, ask for it:  --superusers"
        )


def remove_backup_role(statements: Iterable[RoleStatement], *, made: bool = False) -> list[RoleStatement]:
    """Remove the statements about the role of scheduled backups, which `up` creates. `made`: keep its CREATE ROLE."""
    return [each for each in statements if BACKUP not in each.names or (made and each.makes == BACKUP)]


def select_missing(statements: Iterable[RoleStatement], present: Iterable[str]) -> list[RoleStatement]:
    """Return, in order, the statements that name a role which isn't `present`."""
    there = frozenset(present)
    return [each for each in statements if each.names - there]


class _UnknownStatement(Exception):
    """A statement that pg_dumpall can't have written. The text says why, or is empty."""


def _refuse(number: int, line: str, why: _UnknownStatement) -> NoReturn:
    # The message must not show a password's hash.
    shown = one_line(re.split("password", line, maxsplit=1, flags=re.IGNORECASE)[0])
    shown = shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"
    reason = f": {why}" if str(why) else ""
    raise BackupRefused(
        f"{GLOBALS}, line {number} is refused{reason}\n    {shown}\n  allowed, one statement a line: {ALLOWED}\n{OTHER}"
    )


def _tokenize(text: str, at: int) -> tuple[list[RoleToken], int]:
    """Return the tokens of one statement without its `;`, and the start of the next line. Raises _Unknown."""
    found: list[RoleToken] = []
    while match := TOKEN.match(text, at):
        at = match.end()
        kind, value = str(match.lastgroup), match[str(match.lastgroup)]
        if kind == "mark" and value == ";":
            if at < len(text) and text[at] != "\n":
                raise _UnknownStatement("something follows the statement")
            return found, at + 1
        if kind in ("plain", "escaped"):
            value = value.replace("''", "'")
            found.append(RoleToken("text", value.replace("\\\\", "\\") if kind == "escaped" else value))
        elif kind != "blank":
            found.append(RoleToken(kind, value.replace('""', '"') if kind == "name" else value))
    raise _UnknownStatement("")


class _Reader:
    """A parser of one statement. Raises _Unknown."""

    def __init__(self, tokens: list[RoleToken], line: int) -> None:
        self.tokens, self.line = tokens, line

    def parse_statement(self) -> RoleStatement:
        for words, read in self.kinds():
            if self.words(*words):
                found = read()
                if self.tokens:
                    raise _UnknownStatement("")
                return found
        raise _UnknownStatement("")

    def kinds(self) -> Iterator[tuple[tuple[str, ...], Callable[[], RoleStatement]]]:
        yield ("CREATE", "ROLE"), self.create
        yield ("ALTER", "ROLE"), self.alter
        yield ("COMMENT", "ON", "ROLE"), self.comment
        yield ("SECURITY", "LABEL", "FOR"), self.label
        yield ("GRANT",), self.grant

    def words(self, *words: str) -> bool:
        """Consume these words if they come next. Return whether they did."""
        head = [RoleToken("word", word) for word in words]
        if self.tokens[: len(words)] != head:
            return False
        del self.tokens[: len(words)]
        return True

    def demand(self, *words: str) -> None:
        if not self.words(*words):
            raise _UnknownStatement("")

    def take(self, *kinds: str) -> str:
        if not self.tokens or self.tokens[0].kind not in kinds:
            raise _UnknownStatement("")
        return self.tokens.pop(0).value

    def name(self) -> str:
        """Consume an identifier as pg_dumpall writes it: only lower-case names may lack quotes."""
        token = self.tokens[0] if self.tokens else None
        if token is not None and token.kind == "word" and token.value != token.value.lower():
            raise _UnknownStatement("")
        return self.take("word", "name")

    def make(
        self, names: Iterable[str], template: str, *values: sql.Composable, makes: str = "", power: str = "",
        group: str = "",
    ) -> RoleStatement:  # fmt: skip
        composed = sql.SQL(template).format(*values)  # templates of this file
        return RoleStatement(self.line, frozenset(names), composed, composed, makes, power, group)

    def create(self) -> RoleStatement:
        role = self.name()
        return self.make([role], "CREATE ROLE {}", sql.Identifier(role), makes=role)

    def alter(self) -> RoleStatement:
        role = self.name()
        if self.words("WITH"):
            return self.attributes(role)
        self.demand("SET")
        setting = self.name()
        self.demand("TO")
        values = [self.take("text") if self.tokens else ""]  # pg_dumpall writes an empty list as nothing
        while self.tokens and self.tokens[0] == RoleToken("mark", ","):
            self.tokens.pop(0)
            values.append(self.take("text"))
        wrong = libraries.explain_unsafe_setting(setting, values)
        words = sql.SQL(", ").join(map(sql.Literal, values))
        return self.make(
            [role], "ALTER ROLE {} SET {} TO {}", sql.Identifier(role), sql.Identifier(setting), words,
            power=f"role {one_line(role)}: {wrong}" if wrong else "",
        )  # fmt: skip

    def attributes(self, role: str) -> RoleStatement:
        head = sql.SQL("ALTER ROLE {} WITH").format(sql.Identifier(role))
        parts: list[sql.Composable] = [head]
        secret: list[sql.Composable] = []
        power = ""
        while self.tokens:
            word = self.take("word")
            if word.removeprefix("NO") in ATTRIBUTES:
                parts.append(sql.SQL(word))  # one of ATTRIBUTES
                power = power or (f"role {one_line(role)} gets {word}" if word in POWERS else "")
            elif word == "CONNECTION":
                self.demand("LIMIT")
                parts.append(sql.SQL("CONNECTION LIMIT {}").format(sql.Literal(int(self.take("number")))))
            elif word == "VALID":
                self.demand("UNTIL")
                parts.append(sql.SQL("VALID UNTIL {}").format(sql.Literal(self.take("text"))))
            elif word == "PASSWORD":
                verifier = self.take("text")
                if not VERIFIER.fullmatch(verifier):
                    raise _UnknownStatement("the password is no SCRAM verifier")
                secret.append(sql.SQL("PASSWORD {}").format(sql.Literal(verifier)))
            else:
                raise _UnknownStatement("")
        whole, bare = (sql.SQL(" ").join(each) for each in (parts + secret, parts))
        return RoleStatement(self.line, frozenset([role]), whole, bare, power=power)

    def comment(self) -> RoleStatement:
        role = self.name()
        self.demand("IS")
        return self.make([role], "COMMENT ON ROLE {} IS {}", sql.Identifier(role), sql.Literal(self.take("text")))

    def label(self) -> RoleStatement:
        provider = self.name()
        self.demand("ON", "ROLE")
        role = self.name()
        self.demand("IS")
        return self.make(
            [role], "SECURITY LABEL FOR {} ON ROLE {} IS {}", sql.Identifier(provider), sql.Identifier(role),
            sql.Literal(self.take("text")),
        )  # fmt: skip

    def grant(self) -> RoleStatement:
        if self.tokens and self.tokens[0].value in ("SET", "ALTER", "ALL"):
            return self.parameter()
        group = self.name()
        self.demand("TO")
        member = self.name()
        options: list[sql.Composable] = []
        if self.words("WITH"):
            options.append(self.option())
            while self.tokens and self.tokens[0] == RoleToken("mark", ","):
                self.tokens.pop(0)
                options.append(self.option())
        tail = sql.SQL(" WITH {}").format(sql.SQL(", ").join(options)) if options else sql.SQL("")
        by: sql.Composable = sql.SQL("")
        if self.words("GRANTED", "BY"):
            by = sql.SQL(" GRANTED BY {}").format(sql.Identifier(self.name()))
        return self.make(
            [group, member], "GRANT {} TO {}{}{}", sql.Identifier(group), sql.Identifier(member), tail, by, group=group
        )

    def option(self) -> sql.Composable:
        kind, value = self.take("word"), self.take("word")
        if kind not in ("ADMIN", "INHERIT", "SET") or value not in ("OPTION", "TRUE", "FALSE"):
            raise _UnknownStatement("")
        return sql.SQL(f"{kind} {value}")  # words of this file

    def parameter(self) -> RoleStatement:
        """Parse a grant on a server setting. Only superusers grant these, and some let a role become a superuser."""
        rights: list[sql.Composable] = [self.right()]
        while self.tokens and self.tokens[0] == RoleToken("mark", ","):
            self.tokens.pop(0)
            rights.append(self.right())
        self.demand("ON", "PARAMETER")
        setting = self.name()
        self.demand("TO")
        everybody = self.words("PUBLIC")
        role = "" if everybody else self.name()
        who: sql.Composable = sql.SQL("PUBLIC") if everybody else sql.Identifier(role)
        grantable = sql.SQL("")
        if self.words("WITH", "GRANT", "OPTION"):
            grantable = sql.SQL(" WITH GRANT OPTION")
        return self.make(
            [role] if role else [], "GRANT {} ON PARAMETER {} TO {}{}", sql.SQL(", ").join(rights),
            sql.Identifier(setting), who, grantable,
            power=f"{one_line(role) or 'everybody'} may change the setting {one_line(setting)}",
        )  # fmt: skip

    def right(self) -> sql.Composable:
        for words in (("SET",), ("ALTER", "SYSTEM"), ("ALL",)):
            if self.words(*words):
                return sql.SQL(" ".join(words))  # words of this file
        raise _UnknownStatement("")

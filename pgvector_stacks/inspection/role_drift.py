"""Finds and repairs changes that someone made by hand to the stack's own roles.

Invariant: `app` and `readonly` can log in with the stack's passwords at any time, within their connection limits. None
of our roles has a power that `roles.ensure_cluster` didn't give it, is a member of a role with such a power, or sets
for its sessions what its limits (`RoleLimits`) and powers forbid. An `up` repairs all of this. It also grants again the
rights that the scripts gave to our roles, by the record, and that these have lost.

Other changes are only noted, because an administrator may have intended them: other settings of a role (ALTER ROLE …
SET), its membership in roles that aren't ours, and what those may do to the stack.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from psycopg import Connection, errors, sql

from pgvector_stacks.common import definitions, queries
from pgvector_stacks.common.difference import Difference
from pgvector_stacks.common.plain_text import one_line
from pgvector_stacks.connections import roles, setting_values, up_lock
from pgvector_stacks.connections.role_limits import RoleLimits
from pgvector_stacks.inspection import schema_drift

LOGINS = (roles.APP, roles.READONLY)
OURS = (roles.OWNER, *LOGINS)
# A session's role, and the libraries that it loads; a role may set local_preload_libraries for itself
FORBIDDEN = ("role", "session_preload_libraries", "local_preload_libraries")
LIMITED = {"temp_file_limit": "kB", "idle_in_transaction_session_timeout": "ms"}  # the unit of a bare number
SCRAM = re.compile(r"SCRAM-SHA-256\$(?P<rounds>\d+):(?P<salt>[^$]+)\$(?P<stored>[^:]+):(?P<server>.+)")
# The kinds of objects that have rights, and their names in ALTER, GRANT and REVOKE.
GRANTABLE = {
    "schema": "SCHEMA", "table": "TABLE", "view": "TABLE", "materialized view": "TABLE", "foreign table": "TABLE",
    "sequence": "SEQUENCE", "function": "FUNCTION", "procedure": "PROCEDURE", "aggregate": "FUNCTION", "enum": "TYPE",
    "domain": "DOMAIN", "type": "TYPE", "language": "LANGUAGE", "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "server": "FOREIGN SERVER",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """A row of `role_attributes.sql`. `powers`: in the words of ALTER ROLE; `settings`: (database or "", name, value).

    `member_of`: the roles with powers of which it is a member; `others`: the other ones.
    """

    name: str
    can_login: bool
    verifier: str | None
    expired: str | None
    limit: int
    powers: tuple[str, ...]
    member_of: tuple[str, ...]
    connects: bool
    inherits: bool = True
    others: tuple[str, ...] = ()
    settings: tuple[tuple[str, str, str], ...] = ()


def describe_faults(
    found: Iterable[Role], passwords: Mapping[str, Sequence[str]], limits: RoleLimits | None = None, *,
    working: bool = False,
) -> tuple[str, ...]:  # fmt: skip
    """Return what is wrong, one sentence each. Pure.

    `passwords`: the correct ones by role; of a role without any, the password isn't checked. `limits`: None: limits
    aren't checked. `working`: an `up` is running, during which `schema_owner` may log in.
    If none of our roles exists, no `up` has run yet, and nothing is wrong.
    """
    there = {role.name: role for role in found}
    if not there:
        return ()
    lines = [f"role {name} was dropped" for name in OURS if name not in there]
    for name in OURS:
        if (role := there.get(name)) is None:
            continue
        if role.powers:
            lines.append(f"role {name} has {', '.join(role.powers)}")
        lines += [f"role {name} is a member of {other}" for other in role.member_of]
        if not role.inherits:
            lines.append(f"role {name} doesn't inherit (NOINHERIT)")
        lines += [f"role {name} {words}" for words in _wrong_settings(role, limits)]
        if name not in LOGINS:
            lines += [f"role {name} may log in (LOGIN): only while an `up` works"] * (role.can_login and not working)
            continue
        if not role.can_login:
            lines.append(f"role {name} can't log in (NOLOGIN)")
        if role.expired:
            lines.append(f"role {name} has a password that is valid until {role.expired} only (VALID UNTIL)")
        most = limits.connections(name) if limits else role.limit
        if role.limit != most:
            may = f"{role.limit} connections only" if role.limit >= 0 else "any number of connections"
            lines.append(f"role {name} may have {may} (CONNECTION LIMIT{f', declared is {most}' if most >= 0 else ''})")
        if not role.connects:
            lines.append(f"role {name} lost CONNECT on the database")
        words = passwords.get(name, ())
        if words and not any(matches_verifier(word, role.verifier) for word in words):
            lines.append(f"role {name} has another password than the stack's")
    return tuple(map(one_line, lines))


def matches_verifier(password: str, verifier: str | None) -> bool:
    """Return True if the server would accept the password. Computed from the server's verifier, without a login.

    >>> matches_verifier("x", None)
    False
    """
    kept = SCRAM.fullmatch(verifier or "")
    if kept is None:  # pg_hba.conf refuses MD5, and without a verifier no one can log in
        return False
    for form in {password, unicodedata.normalize("NFKC", password)}:  # SASLprep normalises this way
        salted = hashlib.pbkdf2_hmac("sha256", form.encode(), b64decode(kept["salt"]), int(kept["rounds"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        if hmac.compare_digest(b64encode(hashlib.sha256(client).digest()).decode(), kept["stored"]):
            return True
    return False


def describe_intended(
    found: Iterable[Role], others: Iterable[tuple[str, Sequence[str], Sequence[str]]]
) -> tuple[str, ...]:
    """Return what an administrator may have intended, one sentence each. Pure.

    `others`: roles that aren't ours: (name, powers, memberships).
    """
    lines = []
    for role in found:
        lines += [f"role {role.name} is a member of {other}" for other in role.others]
        lines += [
            f"role {role.name} sets {name} = {value}" + (f" in database {database}" if database else "")
            for database, name, value in role.settings
            if name not in LIMITED and name not in FORBIDDEN
        ]
    for name, powers, memberships in others:
        if powers:
            lines.append(f"role {name} has {', '.join(powers)}")
        lines += [f"role {name} is a member of {other}" for other in memberships]
    return tuple(map(one_line, lines))


def _wrong_settings(role: Role, limits: RoleLimits | None) -> list[str]:
    """Return the role's settings for its sessions that are forbidden, wrong or missing."""
    wanted = limits.settings if limits and role.name in LOGINS else {}
    lines = []
    for database, name, value in role.settings:
        there = f" in database {database}" if database else ""
        if name in FORBIDDEN:
            lines.append(f"sets {name} = {value}{there}")
        elif name in wanted and (database or not _same(name, value, wanted[name])):
            lines.append(f"sets {name} = {value}{there}, declared is {wanted[name]}")
    present = {name for database, name, _ in role.settings if not database}
    return lines + [f"doesn't set {name} = {value}" for name, value in wanted.items() if name not in present]


def _same(name: str, one: str, other: str) -> bool:
    """Return True if PostgreSQL reads both as the same value."""
    return setting_values.are_equal(name, "integer", LIMITED[name], one, other)


def read_roles(connection: Connection[Any], names: Sequence[str] = OURS) -> list[Role]:
    """Return those roles that exist. Raises InsufficientPrivilege if the connection's role may not read them."""
    rows = connection.execute(queries.get("role_attributes"), {"names": list(names)}).fetchall()
    return [
        Role(
            name, can_login, verifier, expired, limit, tuple(powers), tuple(member_of), connects, inherits,
            tuple(others), tuple((database, setting, value) for database, setting, value in settings),
        )
        for (
            name, can_login, verifier, expired, limit, powers, member_of, connects, inherits, others, settings,
        ) in rows
    ]  # fmt: skip


def find_faults(
    connection: Connection[Any], passwords: Mapping[str, Sequence[str]], limits: RoleLimits | None = None
) -> tuple[str, ...]:
    """Describe the faults of the roles in the connection's database; empty if its role may not read them."""
    try:
        # before `read_roles`: an `up` that ends in between has already removed the login
        working = up_lock.is_up_running(connection)
        return describe_faults(read_roles(connection), passwords, limits, working=working)
    except errors.InsufficientPrivilege:
        return ()


def find_intended(connection: Connection[Any]) -> tuple[str, ...]:
    """Return `describe_intended` for the connection's database; empty if its role may not read it."""
    try:
        found = read_roles(connection)
    except errors.InsufficientPrivilege:
        return ()
    others = connection.execute(queries.get("roles_of_others"), {"names": [*OURS, roles.BACKUP]}).fetchall()
    return describe_intended(found, [(name, powers, memberships) for name, powers, memberships in others])


def repair(cluster: Connection[Any], limits: RoleLimits | None = None) -> None:
    """Repair what `describe_faults` reports about our roles, except passwords and CONNECT: `ensure_cluster` sets these.

    `cluster`: the administrator's connection. Roles that don't exist yet are skipped.
    """
    for found in read_roles(cluster):
        role = sql.Identifier(found.name)
        if found.powers:
            cluster.execute(sql.SQL("ALTER ROLE {} {}").format(role, roles.NO_POWERS))
        if not found.inherits:
            cluster.execute(sql.SQL("ALTER ROLE {} INHERIT").format(role))
        if found.name == roles.OWNER and found.can_login:  # set by hand, or left by a killed `up`
            cluster.execute(sql.SQL("ALTER ROLE {} NOLOGIN PASSWORD NULL").format(role))
        if found.expired:
            cluster.execute(sql.SQL("ALTER ROLE {} VALID UNTIL 'infinity'").format(role))
        most = limits.connections(found.name) if limits else found.limit
        if found.limit != most:
            cluster.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT {}").format(role, sql.Literal(most)))
        _repair_settings(cluster, found, limits)
        revoke_memberships(cluster, found.name, found.member_of)


def revoke_memberships(cluster: Connection[Any], member: str, groups: Sequence[str]) -> None:
    """Revoke the membership of `member` in `groups`, whoever granted it. `cluster`: the administrator's connection."""
    grants = {"member": member, "roles": list(groups)}
    for other, name, grantor in cluster.execute(queries.get("role_memberships"), grants).fetchall():
        revoke = f"REVOKE {other} FROM {name} GRANTED BY {grantor} CASCADE"  # the server quoted the names
        cluster.execute(revoke.encode())


def _repair_settings(cluster: Connection[Any], found: Role, limits: RoleLimits | None) -> None:
    """Repair a role's settings for its sessions, so that `_wrong_settings` finds none."""
    role = sql.Identifier(found.name)
    wanted = limits.settings if limits and found.name in LOGINS else {}
    for database, name, _ in found.settings:
        if name in FORBIDDEN or (database and name in wanted):
            there = sql.SQL(" IN DATABASE {}").format(sql.Identifier(database)) if database else sql.SQL("")
            cluster.execute(sql.SQL("ALTER ROLE {}{} RESET {}").format(role, there, sql.Identifier(name)))
    has = {name: value for database, name, value in found.settings if not database}
    for name, value in wanted.items():
        if name not in has or not _same(name, has[name], value):
            set_ = sql.SQL("ALTER ROLE {} SET {} = {}").format(role, sql.Identifier(name), sql.Literal(value))
            cluster.execute(set_)


def find_lost_rights(differences: Iterable[Difference]) -> list[tuple[Difference, list[definitions.Right]]]:
    """Return the recorded rights that our roles no longer have, by object that is recorded and still exists. Pure.

    Left out is what was taken from its owner: that one's former rights, TRIGGER for example, would let its code run as
    the new owner.
    """
    differences = list(differences)
    taken = {difference.identity for difference in differences if _was_taken(difference)}
    found = []
    for difference in differences:
        if difference.recorded is None or difference.live is None or difference.grown:
            continue
        if difference.identity in taken or difference.relation in taken:
            continue
        was, now = (definitions.parse(text).get("right", []) for text in (difference.recorded, difference.live))
        lost = [right for right in definitions.parse_acl(was) - definitions.parse_acl(now) if right.grantee in OURS]
        if lost and (difference.kind in GRANTABLE or difference.kind == "column"):
            found.append((difference, sorted(lost)))
    return found


def _was_taken(difference: Difference) -> bool:
    """Return True if another role owns the object than the recorded one, and that role isn't the scripts'."""
    was, now = (definitions.first_value(text, "owner") for text in (difference.recorded, difference.live))
    return None not in (was, now) and now not in (was, roles.OWNER)


def is_repairable(difference: Difference) -> bool:
    """Return True if an `up` repairs the whole difference: our roles lost rights, and nothing else was changed."""
    if not find_lost_rights([difference]) or difference.recorded is None or difference.live is None:
        return False
    was, now = definitions.parse(difference.recorded), definitions.parse(difference.live)
    before, after = definitions.parse_acl(was.pop("right", [])), definitions.parse_acl(now.pop("right", []))
    return was == now and after < before and {right.grantee for right in before - after} <= set(OURS)


def split_repairable(difference: Difference) -> tuple[Difference | None, Difference | None]:
    """Split a difference into the part that an `up` repairs, and the rest. Either can be None. Pure.

    If the object has another owner now, all of it is rest: the former owner lost its rights by that change.
    """
    if is_repairable(difference):
        return difference, None
    lost = {right.grantee for _, those in find_lost_rights([difference]) for right in those}
    if not lost or difference.recorded is None or difference.live is None:
        return None, difference
    was, now = definitions.parse(difference.recorded), definitions.parse(difference.live)
    if was.get("owner") != now.get("owner"):
        return None, difference
    lines = set(now.get("right", ()))
    for role in lost:
        before, after = (_of_grantee(role, found.get("right", ())) for found in (was, now))
        if definitions.parse_acl(after) <= definitions.parse_acl(before):
            lines = lines - set(after) | set(before)
    rights = [f"right: {line}" for line in sorted(lines)]
    healed = "\n".join([definitions.remove_words(difference.live, ["right"]), *rights])
    if lines == set(now.get("right", ())):
        return None, difference
    return replace(difference, recorded=healed), replace(difference, live=healed)


def _of_grantee(role: str, lines: Sequence[str]) -> list[str]:
    """Return those of the recorded `right: …` values that grant `role` a privilege."""
    return [line for line in lines if {right.grantee for right in definitions.parse_acl([line])} == {role}]


def give_back(connection: Connection[Any], differences: Iterable[Difference]) -> list[str]:
    """Grant again what `find_lost_rights` finds, and return one sentence per object. Revokes nothing.

    `connection`: the administrator's. The grants come from the objects' owners.
    """
    lines = []
    for difference, lost in find_lost_rights(differences):
        for right in lost:
            _grant(connection, difference, right)
        names = ", ".join(f"{right.privilege} to {right.grantee}" for right in lost)
        lines.append(one_line(f"gives back on {difference.kind} {difference.identity}: {names}"))
    return lines


@dataclass(frozen=True, slots=True)
class SortedDrift:
    """What differs, as text. `drift`: a person must repair it; `repairable`: the next `up` repairs it."""

    drift: tuple[str, ...]
    repairable: tuple[str, ...]


def sort_drift(differences: Sequence[Difference] | None, wrong_roles: Sequence[str]) -> SortedDrift:
    """Sort the differences by who repairs them. `differences`: None: unknown, since the catalog was locked. Pure."""
    if differences is None:
        return SortedDrift(schema_drift.NOT_KNOWN, tuple(wrong_roles))
    parts = [split_repairable(difference) for difference in differences]
    repairable, rest = (
        ([each for each in those if each is not None] for those in zip(*parts, strict=True)) if parts else ([], [])
    )
    return SortedDrift(
        schema_drift.describe_differences(rest), (*wrong_roles, *schema_drift.describe_differences(repairable))
    )


def _grant(connection: Connection[Any], difference: Difference, right: definitions.Right) -> None:
    """Grant one lost right again."""
    name = definitions.identity_in_commands(difference.kind, difference.identity)
    privilege, what = right.privilege, f"{GRANTABLE.get(difference.kind)} {name}"
    if difference.kind == "column":
        relation = str(difference.relation)
        privilege, what = f"{privilege} ({difference.identity[len(relation) + 1 :]})", f"TABLE {relation}"
    option = " WITH GRANT OPTION" if right.grantable else ""
    role = sql.Identifier(right.grantee).as_string(None)
    connection.execute(f"GRANT {privilege} ON {what} TO {role}{option}".encode())  # the server quoted the names

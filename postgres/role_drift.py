"""What somebody changed of the stack's own roles by hand, and putting it right.

Invariant: `app` and `readonly` can log in with the stack's passwords, at any time and as often as they like, and none
of our roles has a power that `roles.ensure_cluster` didn't give it. What a role has set for its sessions (ALTER ROLE …
SET) and memberships that give no power over the schema are the administrator's affair.

An `up` mends all of it, and gives back what our roles lost of the rights that are recorded as the scripts'.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg import Connection, errors, sql

from postgres import definitions, drift, queries, roles
from postgres.difference import Difference

LOGINS = (roles.APP, roles.READONLY)
OURS = (roles.OWNER, *LOGINS)
SCRAM = re.compile(r"SCRAM-SHA-256\$(?P<rounds>\d+):(?P<salt>[^$]+)\$(?P<stored>[^:]+):(?P<server>.+)")
# What ALTER, GRANT and REVOKE call the kinds that have rights.
GRANTABLE = {
    "schema": "SCHEMA", "table": "TABLE", "view": "TABLE", "materialized view": "TABLE", "foreign table": "TABLE",
    "sequence": "SEQUENCE", "function": "FUNCTION", "procedure": "PROCEDURE", "aggregate": "FUNCTION", "enum": "TYPE",
    "domain": "DOMAIN", "type": "TYPE", "language": "LANGUAGE", "foreign data wrapper": "FOREIGN DATA WRAPPER",
    "server": "FOREIGN SERVER",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Role:
    """A role as `role_attributes.sql` finds it. `powers`: as ALTER ROLE names them; `member_of`: that have power."""

    name: str
    can_login: bool
    verifier: str | None
    expired: str | None
    limit: int
    powers: tuple[str, ...]
    member_of: tuple[str, ...]
    connects: bool


def findings(found: Iterable[Role], passwords: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """What is wrong, a sentence each. `passwords`: by role, those that are right; of a role without any, none is asked.

    Pure. A database where none of our roles is was never brought up: then nothing is wrong.
    """
    there = {role.name: role for role in found}
    if not there:
        return ()
    told = [f"role {name} was dropped" for name in OURS if name not in there]
    for name in OURS:
        if (role := there.get(name)) is None:
            continue
        if role.powers:
            told.append(f"role {name} has {', '.join(role.powers)}")
        told += [f"role {name} is a member of {other}" for other in role.member_of]
        if name not in LOGINS:
            continue
        if not role.can_login:
            told.append(f"role {name} can't log in (NOLOGIN)")
        if role.expired:
            told.append(f"role {name} has a password that is valid until {role.expired} only (VALID UNTIL)")
        if role.limit >= 0:
            told.append(f"role {name} may have {role.limit} connections only (CONNECTION LIMIT)")
        if not role.connects:
            told.append(f"role {name} lost CONNECT on the database")
        words = passwords.get(name, ())
        if words and not any(fits(word, role.verifier) for word in words):
            told.append(f"role {name} has another password than the stack's")
    return tuple(told)


def fits(password: str, verifier: str | None) -> bool:
    """True where the server would take the password: by the verifier that it keeps, without asking it.

    >>> fits("x", None)
    False
    """
    kept = SCRAM.fullmatch(verifier or "")
    if kept is None:  # MD5 is refused by pg_hba.conf, and none can't log in
        return False
    for form in {password, unicodedata.normalize("NFKC", password)}:  # as SASLprep has it
        salted = hashlib.pbkdf2_hmac("sha256", form.encode(), b64decode(kept["salt"]), int(kept["rounds"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        if hmac.compare_digest(b64encode(hashlib.sha256(client).digest()).decode(), kept["stored"]):
            return True
    return False


def find(connection: Connection[Any], passwords: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """`findings` in the connection's database. Empty where the connection's role may not read them."""
    try:
        rows = connection.execute(queries.get("role_attributes"), {"names": list(OURS)}).fetchall()
    except errors.InsufficientPrivilege:
        return ()
    found = [
        Role(name, can_login, verifier, expired, limit, tuple(powers), tuple(member_of), connects)
        for name, can_login, verifier, expired, limit, powers, member_of, connects in rows
    ]
    return findings(found, passwords)


def mend(cluster: Connection[Any]) -> None:
    """Take from our roles what `findings` complains of, but for passwords and CONNECT, which `ensure_cluster` gives.

    `cluster`: the administrator's. Roles that aren't there yet are left out.
    """
    rows = cluster.execute(queries.get("role_attributes"), {"names": list(OURS)}).fetchall()
    for name, _, _, expired, limit, powers, member_of, _ in rows:
        role = sql.Identifier(name)
        if powers:
            cluster.execute(sql.SQL("ALTER ROLE {} {}").format(role, roles.NO_POWERS))
        if expired:
            cluster.execute(sql.SQL("ALTER ROLE {} VALID UNTIL 'infinity'").format(role))
        if limit >= 0:
            cluster.execute(sql.SQL("ALTER ROLE {} CONNECTION LIMIT -1").format(role))
        for other in member_of:
            cluster.execute(sql.SQL("REVOKE {} FROM {} CASCADE").format(sql.Identifier(other), role))


def lost_rights(differences: Iterable[Difference]) -> list[tuple[Difference, list[definitions.Right]]]:
    """By object that is recorded and there: the recorded rights of our roles that it has no more. Pure."""
    found = []
    for difference in differences:
        if difference.recorded is None or difference.live is None or difference.grown:
            continue
        was, now = (definitions.parse(text).get("right", []) for text in (difference.recorded, difference.live))
        lost = [right for right in definitions.rights(was) - definitions.rights(now) if right.grantee in OURS]
        if lost and (difference.kind in GRANTABLE or difference.kind == "column"):
            found.append((difference, sorted(lost)))
    return found


def is_mended(difference: Difference) -> bool:
    """True where an `up` puts the whole difference right: our roles lost rights, and nothing else was changed."""
    if not lost_rights([difference]) or difference.recorded is None or difference.live is None:
        return False
    was, now = definitions.parse(difference.recorded), definitions.parse(difference.live)
    before, after = definitions.rights(was.pop("right", [])), definitions.rights(now.pop("right", []))
    return was == now and after < before and {right.grantee for right in before - after} <= set(OURS)


def give_back(connection: Connection[Any], differences: Iterable[Difference]) -> list[str]:
    """Grant what `lost_rights` finds, as the objects' owners; a sentence for each object.

    `connection`: the administrator's. Nothing is taken from anybody.
    """
    told = []
    for difference, lost in lost_rights(differences):
        for right in lost:
            _grant(connection, difference, right)
        names = ", ".join(f"{right.privilege} to {right.grantee}" for right in lost)
        told.append(f"gives back on {difference.kind} {difference.identity}: {names}")
    return told


@dataclass(frozen=True, slots=True)
class Seen:
    """What differs, in words: `drift` is for people to repair, `mended` is what the next `up` puts right."""

    drift: tuple[str, ...]
    mended: tuple[str, ...]


def told(differences: Sequence[Difference] | None, wrong_roles: Sequence[str]) -> Seen:
    """`differences`: None where they are not known, since the catalog was locked. Pure."""
    if differences is None:
        return Seen(drift.NOT_KNOWN, tuple(wrong_roles))
    mended = [difference for difference in differences if is_mended(difference)]
    rest = [difference for difference in differences if difference not in mended]
    return Seen(drift.in_words(rest), (*wrong_roles, *drift.in_words(mended)))


def _grant(connection: Connection[Any], difference: Difference, right: definitions.Right) -> None:
    name = definitions.in_commands(difference.kind, difference.identity)
    privilege, what = right.privilege, f"{GRANTABLE.get(difference.kind)} {name}"
    if difference.kind == "column":
        relation = str(difference.relation)
        privilege, what = f"{privilege} ({difference.identity[len(relation) + 1 :]})", f"TABLE {relation}"
    option = " WITH GRANT OPTION" if right.grantable else ""
    role = sql.Identifier(right.grantee).as_string(None)
    connection.execute(f"GRANT {privilege} ON {what} TO {role}{option}".encode())  # the server quoted the names

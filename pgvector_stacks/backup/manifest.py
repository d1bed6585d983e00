"""The manifest of a backup, and the check of a backup against its manifest.

Invariant: a folder with a manifest holds exactly the files that the manifest lists, each with its size and SHA-256, and
the manifest holds its own digest. Anything else is refused, and the error names the file. An HMAC with a key from the
stack's state proves that this stack wrote the manifest, with its present key. The manifest holds no password. The
roles' password hashes are in `globals.sql`, which only the owner of the file can read.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, Field, ValidationError, model_validator

from pgvector_stacks.backup import shared_files
from pgvector_stacks.backup.contents import FROZEN, Contents
from pgvector_stacks.backup.restoring import libraries
from pgvector_stacks.common.errors import PgstackError
from pgvector_stacks.common.plain_text import one_line

NAME = "manifest.json"
STAMP = "%Y%m%dT%H%M%SZ"  # of when a backup began, in UTC: its folder's name
PROOF = ("digest", "signature")  # keys of the manifest that they don't cover
GLOBALS = "globals.sql"
FORMAT = 2  # 1 has no signature
MOST = 5  # problems that a message lists
OTHER = "  use another one (pgstack backup list STACK), or make one:  pgstack backup create STACK"
UNSIGNED_HELP = (
    "  if it is yours, and nobody else could write where it has lain since, say so: add  --unsigned  to the command\n"
    "    (whoever made it gets a superuser's rights)"
)
# why a backup isn't trusted, in short
NO_KEY, NOT_SIGNED, OTHER_KEY = "no key yet", "not signed", "signed with another key"
OTHER_TIME = "of another time"
LONGEST_NAME = 63  # bytes
# names of the files that pg_dump writes into its folder
PART = re.compile(r"[a-z0-9_]+\.(?:dat|toc)(?:\.(?:gz|lz4|zst))?")


class BackupRefused(PgstackError):
    """A backup that is incomplete, or doesn't fit the target server."""


class BackupFailed(PgstackError):
    """A backup, a drill or a restore that failed. The running server is unchanged."""


def _check_name(value: str) -> str:
    if not 0 < len(value.encode()) <= LONGEST_NAME or not value.isprintable():
        raise ValueError("not a name of a database or a role")
    return value


def _check_libraries(value: str) -> str:
    if found := libraries.find_unsafe_library([value]):
        raise ValueError(f"{one_line(found)} is not a library of the server's own folder")
    return value


Name = Annotated[str, AfterValidator(_check_name)]


@dataclass(frozen=True, slots=True)
class Trust:
    """What a backup must prove: a signature with `key`, or nothing if `unsigned` backups are accepted."""

    key: str = field(default="", repr=False)
    unsigned: bool = False


UNSIGNED = Trust(unsigned=True)


class Untrusted(BackupRefused):
    """A backup that may come from somebody else. The message shows none of its contents. `short`: the reason, brief."""

    def __init__(self, message: str, short: str) -> None:
        super().__init__(message)
        self.short = short


class File(BaseModel):
    model_config = FROZEN

    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class Privilege(BaseModel):
    """A privilege on a database. `grantee` "" means PUBLIC."""

    model_config = FROZEN

    grantee: str
    privilege: str
    grantable: bool = False


class DatabaseSetting(BaseModel):
    """A setting of a database, from ALTER DATABASE … SET. `role` "" means all roles."""

    model_config = FROZEN

    role: str
    name: str
    value: str


class DumpedDatabase(BaseModel):
    """One database. `folder`: where its dump is, relative to the backup; `bytes`: its size on the server."""

    model_config = FROZEN

    name: Name
    folder: str
    owner: Name
    encoding: str
    collate: str
    ctype: str
    provider: Literal["c", "i", "b"] = Field(
        default="c", description="As pg_database has it: c libc, i ICU, b built in."
    )
    locale: str | None = None
    connection_limit: int = Field(default=-1, ge=-1)
    comment: str | None = None
    bytes: int = Field(ge=0)
    privileges: tuple[Privilege, ...] = ()
    settings: tuple[DatabaseSetting, ...] = ()
    drifted: tuple[tuple[str, str], ...] | None = Field(
        default=None, description="Kind and identity of what differed from the scripts' schema; None: not written down."
    )
    contents: Contents
    sequences_after: Mapping[str, int]

    @model_validator(mode="after")
    def _folder_of_its_name(self) -> Self:
        if self.folder != quote(self.name, safe="") or self.folder in (".", ".."):
            raise ValueError(f"{one_line(self.folder)} is not the folder of the database {one_line(self.name)}")
        return self


class Manifest(BaseModel):
    """A finished backup. `database`: the stack's own among `databases`; `seconds`: how long it took. Times are UTC."""

    model_config = FROZEN

    format: int = FORMAT
    stack: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    started_at: datetime
    seconds: float = Field(ge=0)
    server_version: str = Field(pattern=r"^[0-9][0-9A-Za-z.]*$")
    major: int = Field(ge=1, le=999)
    preload: Annotated[str, AfterValidator(_check_libraries)] = Field(
        default="", description="shared_preload_libraries, which some extensions need."
    )
    database: Name
    schema_revision: str = Field(pattern=r"^(?:[0-9a-f]{12}|empty)$")
    databases: tuple[DumpedDatabase, ...]
    files: Mapping[str, File]

    @model_validator(mode="after")
    def _files_of_pg_dump(self) -> Self:
        folders = {each.folder for each in self.databases}
        for name in self.files:
            folder, _, part = name.rpartition("/")
            if name != GLOBALS and (folder not in folders or not PART.fullmatch(part)):
                raise ValueError(f"{one_line(name)} is not a file of a backup")
        if GLOBALS not in self.files:
            raise ValueError(f"{GLOBALS} is not a file of it")
        return self

    @property
    def folder_name(self) -> str:
        """The name of the backup's folder: when it began."""
        return f"{self.started_at:{STAMP}}"

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files.values())

    @property
    def rows(self) -> int:
        return sum(each.contents.row_count for each in self.databases)

    def find_database(self, name: str) -> DumpedDatabase:
        """Return the database of that name. Raises BackupRefused if there is none."""
        for each in self.databases:
            if each.name == name:
                return each
        raise BackupRefused(
            f"the backup has no database {name}\n  it has: {', '.join(each.name for each in self.databases)}"
        )


def write(manifest: Manifest, folder: Path, key: str = "") -> None:
    """Write the manifest into the folder. `key`: signs the manifest; "": no signature."""
    content = manifest.model_dump(mode="json", by_alias=True)
    proof = {"digest": _digest(content)} | ({"signature": _sign_manifest(content, key)} if key else {})
    text = json.dumps(content | proof, indent=1, ensure_ascii=False, sort_keys=True)
    new = os.open(folder / NAME, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(new, "w", encoding="utf-8") as file:
        file.write(text + "\n")


def read(folder: Path, trust: Trust = UNSIGNED) -> Manifest:
    """Read the manifest of the backup in `folder`.

    Raises BackupRefused if it is missing, truncated, altered, or from a later version of this program, Untrusted if it
    isn't signed as `trust` requires.
    """
    path = folder / NAME
    try:
        content = json.loads(shared_files.read_bytes(path))
        digest, signature = (content.pop(name, None) if isinstance(content, dict) else None for name in PROOF)
        made = _digest(content)
    except FileNotFoundError:
        raise BackupRefused(f"{folder} is not a finished backup: it has no {NAME}") from None
    except (OSError, ValueError, RecursionError) as error:  # RecursionError: lists in lists in lists
        raise BackupRefused(f"{path} can't be read: {' '.join(str(error).split())[:200]}\n{OTHER}") from None
    if not isinstance(content, dict):
        raise BackupRefused(f"{path} is not a manifest\n{OTHER}")
    if isinstance(content.get("format"), int) and content["format"] > FORMAT:
        raise BackupRefused(f"{path} was written by a later version of pgvector-stacks\n  use that one")
    if digest != made:
        raise BackupRefused(f"{path} was altered: it doesn't match its own digest\n{OTHER}")
    if not trust.unsigned:
        _check_signature(folder, content, signature, trust.key)
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        raise BackupRefused(f"{path} is not a manifest of a backup: {describe_invalid_field(error)}\n{OTHER}") from None
    name = folder.name.removesuffix(".unfinished")
    if not trust.unsigned and manifest.folder_name != name:
        made = f"it was made at {manifest.folder_name}"
        raise Untrusted(f"the backup {name} is of another time: {made}", OTHER_TIME)
    return manifest


def _check_signature(folder: Path, content: object, signature: object, key: str) -> None:
    name = folder.name.removesuffix(".unfinished")
    if not key:
        raise Untrusted(
            f"nothing tells whether the backup {name} is this stack's own: its state has no key\n"
            f"  the next `up` makes one, for the backups after it\n{UNSIGNED_HELP}",
            NO_KEY,
        )
    if not isinstance(signature, str) or not signature:
        raise Untrusted(
            f"the backup {name} isn't signed: it was made by an earlier version, or somebody else made it\n"
            f"{UNSIGNED_HELP}",
            NOT_SIGNED,
        )
    if not hmac.compare_digest(signature.encode(errors="replace"), _sign_manifest(content, key).encode()):
        raise Untrusted(
            f"the backup {name} isn't signed with this stack's key: somebody altered it, or it is another stack's, or "
            "of this one before a `down`\n"
            "  with the key of that time, if you kept it (`pgstack backup key`), as pgvector:backupKey and an `up` it "
            f"is accepted\n{UNSIGNED_HELP}",
            OTHER_KEY,
        )


def describe_invalid_field(error: ValidationError) -> str:
    """Return which field is wrong, and why, as one line."""
    first = error.errors(include_url=False, include_context=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    words = f"{where}: {first['msg'].removeprefix('Value error, ')}" if where else first["msg"]
    return one_line(words.removeprefix("Value error, "))[:300]


def verify(folder: Path, *, digests: bool = True, trust: Trust = UNSIGNED) -> Manifest:
    """Check the files of a backup and return its manifest. `digests` False: check only names and sizes, which is fast.

    Raises BackupRefused that names missing, truncated, altered and additional files, and Untrusted as `read` does.
    """
    manifest = read(folder, trust)
    # Everything but folders counts: a program would read a pipe in the place of a file, too.
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    there -= {NAME}
    problems = [f"{name}: not in the manifest" for name in sorted(there - manifest.files.keys())]
    for name, file in sorted(manifest.files.items()):
        path = folder / name
        if name not in there:
            problems.append(f"{name}: missing")
        elif path.is_symlink():
            problems.append(f"{name}: a link")
        elif not path.is_file():
            problems.append(f"{name}: not a regular file")
        elif (size := path.lstat().st_size) != file.bytes:
            problems.append(f"{name}: {size} bytes instead of {file.bytes}")
        elif digests and sha256(path) != file.sha256:
            problems.append(f"{name}: altered (its SHA-256 is another)")
    if problems:
        more = [f"and {len(problems) - MOST} more"] if len(problems) > MOST else []
        lines = "\n".join(f"  {each}" for each in problems[:MOST] + more)
        raise BackupRefused(f"the backup {folder.name} is damaged:\n{lines}\n{OTHER}")
    return manifest


def read_globals(folder: Path, manifest: Manifest) -> str:
    """Return the text of `globals.sql`, decoded from the same bytes that match the digest. Raises BackupRefused."""
    try:
        content = shared_files.read_bytes(folder / GLOBALS)
        if hashlib.sha256(content).hexdigest() != manifest.files[GLOBALS].sha256:
            raise BackupRefused(f"the backup {folder.name} is damaged:\n  {GLOBALS}: altered\n{OTHER}")
        return content.decode()
    except (OSError, ValueError) as error:
        raise BackupRefused(
            f"{folder / GLOBALS} can't be read: {' '.join(str(error).split())[:200]}\n{OTHER}"
        ) from None


def list_files(folder: Path) -> dict[str, File]:
    """Return all files but the manifest, by their path relative to the backup."""
    return {
        str(path.relative_to(folder)): File(bytes=path.stat().st_size, sha256=sha256(path))
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME
    }


def sha256(path: Path) -> str:
    """Return the file's digest in hexadecimal. Raises OSError."""
    with shared_files.open_regular_file(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _canonical_json(content: object) -> bytes:
    return json.dumps(content, sort_keys=True, ensure_ascii=True, separators=(",", ":")).encode()


def _digest(content: object) -> str:
    return hashlib.sha256(_canonical_json(content)).hexdigest()


def sign(purpose: str, content: object, key: str) -> str:
    """Sign content that isn't a manifest. `purpose` comes first in the signed text; a manifest begins with a brace."""
    return hmac.new(key.encode(), f"{purpose}\n".encode() + _canonical_json(content), hashlib.sha256).hexdigest()


def _sign_manifest(content: object, key: str) -> str:
    """Sign the whole manifest, which includes the digests of all files."""
    return hmac.new(key.encode(), _canonical_json(content), hashlib.sha256).hexdigest()

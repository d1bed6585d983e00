"""Sends, verifies, lists, fetches and removes copies of backups on another host, over the user's own `ssh`.

Invariant: on the other host, too, a folder named after a time is a complete backup, because it gets that name only
after its digest was compared. The folder holds one encrypted file (`encryption.py`). Earlier versions sent unencrypted
copies. The host needs sh, tar and sha256sum, and no program of ours.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from pgvector_stacks.backup.copies import encryption
from pgvector_stacks.backup.manifest import BackupFailed, BackupRefused, verify
from pgvector_stacks.backup.retention import DrilledBackup
from pgvector_stacks.backup.store import FINISHED, promote, read_last_drill, staging
from pgvector_stacks.common.errors import ConnectionFailed, PgstackError
from pgvector_stacks.connections import ssh_tunnel
from pgvector_stacks.toolbox.tar_stream import CHUNK, pack, unpack

VERDICTS = {"good": True, "bad": False, "none": None}
LIST = """
[ -d "$1" ] || exit 0
cd "$1"
for folder in */; do
    name=${folder%/}
    if [ ! -f "$name.drill.json" ]; then echo "$name none"
    elif grep -q '"ok": true' "$name.drill.json"; then echo "$name good"
    else echo "$name bad"; fi
done
"""
RECEIVE = """
umask 077
mkdir -p "$1"
find "$1" -maxdepth 1 -name '*.unfinished' -mtime +1 -exec rm -rf {} +  # of killed runs; another may be at work
rm -rf "$1/$2.unfinished"
mkdir "$1/$2.unfinished" "$1/$2.unfinished/$2"
cat >"$1/$2.unfinished/$2/$3"
"""
FINISH = """
cd "$1/$2.unfinished/$2"
sha256sum --quiet -c -
sync
mv "$1/$2.unfinished/$2" "$1/$2"
rmdir "$1/$2.unfinished"
"""
FETCH = 'if [ -f "$1/$2/$3" ]; then exec cat "$1/$2/$3"; else exec tar -cf - -C "$1" "$2"; fi'
NOTE = '[ ! -d "$1/$2" ] || { umask 077; cat >"$1/$2.drill.json.new"; mv "$1/$2.drill.json.new" "$1/$2.drill.json"; }'
REMOVE = """
[ -d "$1/$2" ] || exit 0
rm -rf "$1/$2.unfinished"
mv "$1/$2" "$1/$2.unfinished"
rm -rf "$1/$2.unfinished" "$1/$2.drill.json"
"""


@dataclass(frozen=True, slots=True)
class RemoteCopies:
    """The copies of one stack on another host. `url`: `ssh://USER@HOST[:PORT]/PATH`, with a folder for each stack below
    it; `key`: the one in the stack's state, "" if it isn't needed or doesn't exist yet.
    """

    url: str
    stack: str
    key: str = field(default="", repr=False)

    @property
    def folder(self) -> str:
        return f"{ssh_tunnel.parse(self.url).socket}/{self.stack}"

    def list_copies(self) -> list[DrilledBackup]:
        """Return the copies on the other host, oldest first. Raises BackupFailed."""
        said = self._run(LIST).decode(errors="replace").splitlines()
        rows = sorted(tuple(line.split()) for line in said if len(line.split()) == 2)
        return [DrilledBackup(name, VERDICTS.get(word)) for name, word in rows if FINISHED.fullmatch(name)]

    def send(self, backup: Path) -> None:
        """Copy a finished backup, encrypted, unless the host has a copy already. Raises BackupFailed."""
        if any(each.name == backup.name for each in self.list_copies()):
            return
        digest = hashlib.sha256()

        def counted() -> Iterator[bytes]:
            for chunk in encryption.encrypt(pack(backup), self.key):
                digest.update(chunk)
                yield chunk

        self._run(RECEIVE, backup.name, encryption.NAME, stdin=counted())
        self._run(FINISH, backup.name, stdin=[f"{digest.hexdigest()}  {encryption.NAME}\n".encode()])

    def record_drill(self, backup: Path) -> None:
        """Record beside the copy whether the backup's last drill was good. Raises BackupFailed.

        Other findings of the drill stay on this machine, because they name tables and counts of rows.
        """
        found = read_last_drill(backup)
        if found is not None:
            self._run(NOTE, backup.name, stdin=[json.dumps({"ok": found.ok}).encode() + b"\n"])

    def remove(self, names: Sequence[str]) -> None:
        """Remove the copies of these names. Raises BackupFailed."""
        for name in names:
            self._run(REMOVE, name)

    def fetch(self, name: str, into: Path) -> Path:
        """Fetch a copy into the folder `into` and verify it. Raises BackupRefused, BackupFailed."""
        there = self.list_copies()
        if name not in {each.name for each in there}:
            last = ", ".join(each.name for each in there[-5:]) or "none"
            raise BackupRefused(f"there is no backup {name!r} at {self.url}\n  there are: {last}")
        finished = into / name
        if finished.exists():
            raise BackupRefused(f"{finished} is there already")
        with staging(finished) as made:
            with self._started(FETCH, name, encryption.NAME) as running:
                try:
                    unpack(encryption.decrypt(iter(running.read, b""), self.key), made)
                except PgstackError as error:
                    raise BackupFailed(f"fetching {name} failed: {error}") from None
            verify(made)
            promote(made, finished)
        return finished

    def _run(self, script: str, *words: str, stdin: Iterable[bytes] = ()) -> bytes:
        with self._started(script, *words) as running:
            return running.feed(stdin)

    def _started(self, script: str, *words: str) -> _Running:
        try:
            target = ssh_tunnel.parse(self.url)
        except ConnectionFailed as error:
            raise BackupFailed(str(error)) from None
        remote = shlex.join(["sh", "-ec", script, "pgstack", self.folder, *words])
        return _Running(["ssh", *ssh_tunnel.OPTIONS, *target.destination, remote], self.url)


class _Running:
    """A running `ssh`. Leaving the context raises BackupFailed, with ssh's last output, if ssh failed."""

    def __init__(self, command: Sequence[str], url: str) -> None:
        self.url = url
        self.said = tempfile.TemporaryFile()  # noqa: SIM115
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.said, start_new_session=True
            )
        except FileNotFoundError:
            self.said.close()
            raise BackupFailed("there is no ssh on this machine (package openssh-client)") from None

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, kind: object, error: object, _: object) -> None:
        process = self.process
        assert process.stdin is not None
        assert process.stdout is not None
        if kind is not None:
            process.kill()
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.stdout.close()
        code = process.wait()
        self.said.seek(0)
        last = self.said.read().decode(errors="replace").strip().splitlines()[-3:]
        self.said.close()
        if code != 0 and kind is None:
            words = "\n".join(f"    {line}" for line in last) or f"    it ended with {code}"
            raise BackupFailed(f"the copy at {self.url} failed:\n{words}")

    def feed(self, chunks: Iterable[bytes]) -> bytes:
        """Write the chunks to ssh's input and return its output, which must be small until all input is read."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            for chunk in chunks:
                self.process.stdin.write(chunk)
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # ssh failed, and __exit__ reports its own message
        return self.process.stdout.read()

    def read(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.read(CHUNK)

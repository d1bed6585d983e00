"""Encrypts copies of backups for other hosts: one file each, in age's format (age-encryption.org/v1).

The other host learns a copy's size, its time and whether its drill was good, and nothing else. The age identity that
decrypts a copy is derived from the key in the stack's state that signs backups. So there is one secret to keep, and the
`age` program decrypts a copy by hand.
"""

from __future__ import annotations

import hashlib
import hmac
import io
from collections.abc import Iterable, Iterator
from itertools import chain

from pgvector_stacks.backup.manifest import BackupFailed
from pgvector_stacks.toolbox.tar_stream import CHUNK, ChunkReader, stream_chunks

NAME = "backup.tar.age"
MAGIC = b"age-encryption.org/v1\n"
PURPOSE = b"pgstack: the age identity of copies"  # the same key signs manifests, but none begins like this
CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
GENERATORS = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
KEEP_IT = "  with the key of that time (`pgstack backup key`, if you kept it) as pgvector:backupKey: `up`, then again"


def age_identity(key: str) -> str:
    """Return the identity in the form that `age -i` reads. `key`: the one in the state.

    >>> age_identity("k")[:15]
    'AGE-SECRET-KEY-'
    """
    secret = hmac.new(key.encode(), PURPOSE, hashlib.sha256).digest()
    return bech32("age-secret-key-", secret).upper()


def decryption_commands(stack: str) -> str:
    """Return the commands that decrypt a copy without this program."""
    return f"pgstack backup key {stack} --age >FILE;  age -d -i FILE {NAME} | tar -x"


def encrypt(chunks: Iterable[bytes], key: str) -> Iterator[bytes]:
    """Encrypt the chunks. Raises BackupFailed without a key, and if the chunks can't be read."""
    if not key:
        raise BackupFailed(
            "no copy can be made: the state has no key yet to encrypt it with\n  make one:  pgstack up STACK"
        )
    import pyrage  # few stacks have copies

    recipient = pyrage.x25519.Identity.from_str(age_identity(key)).to_public()
    source = io.BufferedReader(ChunkReader(chunks), CHUNK)
    try:
        yield from stream_chunks(lambda into: pyrage.encrypt_io(source, into, [recipient]))
    except pyrage.EncryptError as error:  # reading failed
        raise BackupFailed(f"no copy can be made: {error}") from None


def decrypt(chunks: Iterable[bytes], key: str) -> Iterator[bytes]:
    """Decrypt the chunks. Pass on unchanged a plain archive, which earlier versions wrote. Raises BackupFailed."""
    import pyrage

    it = iter(chunks)
    head = b""
    while len(head) < len(MAGIC) and (chunk := next(it, b"")):
        head += chunk
    whole = chain([head], it)
    if not head.startswith(MAGIC):
        yield from whole
        return
    source = io.BufferedReader(ChunkReader(whole), CHUNK)
    try:
        own = pyrage.x25519.Identity.from_str(age_identity(key))
        yield from stream_chunks(lambda into: pyrage.decrypt_io(source, into, [own]))
    except (pyrage.DecryptError, OSError):  # OSError: changed or truncated
        raise BackupFailed(f"it isn't encrypted with this stack's key, or it is damaged\n{KEEP_IT}") from None


def bech32(prefix: str, content: bytes) -> str:
    """Encode a key as Bech32, with its checksum. Source: BIP 173, as age uses it, without the 90-character limit."""
    bits = int.from_bytes(content) << (-len(content) * 8 % 5)
    count = -(-len(content) * 8 // 5)
    values = [bits >> 5 * (count - 1 - place) & 31 for place in range(count)]
    expanded = [ord(one) >> 5 for one in prefix] + [0] + [ord(one) & 31 for one in prefix]
    check = _checksum(expanded + values + [0] * 6) ^ 1
    values += [check >> 5 * (5 - place) & 31 for place in range(6)]
    return f"{prefix}1{''.join(CHARSET[value] for value in values)}"


def _checksum(values: Iterable[int]) -> int:
    found = 1
    for value in values:
        top = found >> 25
        found = (found & 0x1FFFFFF) << 5 ^ value
        for place, generator in enumerate(GENERATORS):
            found ^= generator if top >> place & 1 else 0
    return found

"""A backup is of this stack or is refused, and its copy on another host tells nothing to who has it."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyrage
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.backup_key import BackupKeyProvider
from pgvector_stacks.backup import manifest as manifests
from pgvector_stacks.backup import store
from pgvector_stacks.backup.copies import encryption
from pgvector_stacks.backup.drill import drill
from pgvector_stacks.backup.manifest import (
    GLOBALS,
    UNSIGNED,
    BackupFailed,
    BackupRefused,
    Manifest,
    Trust,
    Untrusted,
    verify,
)
from pgvector_stacks.toolbox import embedded_toolbox
from pgvector_stacks.toolbox.tar_stream import pack, unpack
from tests.security.test_backup_is_data import MANIFEST

KEY, OTHER_STACKS_KEY = "k" * 32, "o" * 32


def signed(folder: Path, key: str) -> Path:
    """A small whole backup, without what a server would make of it."""
    made = folder / "20261124T020000Z"
    (made / "a%20b").mkdir(parents=True)
    (made / GLOBALS).write_text("CREATE ROLE app;\n")
    (made / "a%20b" / "toc.dat").write_text("x")
    files = {name: file.model_dump(mode="json") for name, file in manifests.list_files(made).items()}
    manifests.write(Manifest.model_validate(MANIFEST | {"files": files}), made, key)
    return made


def test_a_backup_of_the_stack_is_accepted_and_no_other(tmp_path: Path) -> None:
    mine = Trust(KEY)
    assert verify(signed(tmp_path / "own", KEY), trust=mine).stack == "local"
    with pytest.raises(Untrusted, match="isn't signed with this stack's key") as refused:
        verify(signed(tmp_path / "other", OTHER_STACKS_KEY), trust=mine)
    assert "pgvector:backupKey" in str(refused.value)
    assert "--unsigned" in str(refused.value)
    with pytest.raises(Untrusted, match="isn't signed: it was made by an earlier version"):
        verify(signed(tmp_path / "none", ""), trust=mine)
    with pytest.raises(Untrusted, match="its state has no key"):
        verify(tmp_path / "own" / "20261124T020000Z", trust=Trust())
    for name in ("own", "other", "none"):
        assert verify(tmp_path / name / "20261124T020000Z", trust=UNSIGNED).major == 18


def forge_the_digest(made: Path, content: dict[str, Any]) -> None:
    """The attacker can't sign, but knows everything else."""
    signature = content.pop("signature", None)
    content.pop("digest")
    proof = {"digest": manifests._digest(content)} | ({"signature": signature} if signature else {})
    (made / manifests.NAME).write_text(json.dumps(content | proof))


@pytest.mark.parametrize(
    "change",
    [
        {"preload": "other"}, {"stack": "production"}, {"major": 17}, {"startedAt": "2026-11-25T02:00:00Z"},
        {"format": 1}, {"signature": ""}, {"signature": None}, {"signature": ["x"]}, {"signature": "\u00e9"},
    ],
)  # fmt: skip
def test_what_is_changed_under_a_signature_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    made = signed(tmp_path, KEY)
    forge_the_digest(made, json.loads((made / manifests.NAME).read_text()) | change)
    with pytest.raises(Untrusted):
        verify(made, trust=Trust(KEY))


def test_changed_files_are_refused_with_right_digests_too(tmp_path: Path) -> None:
    made = signed(tmp_path, KEY)
    (made / GLOBALS).write_text("CREATE ROLE mallory;\n")
    with pytest.raises(BackupRefused, match=r"globals\.sql"):
        verify(made, trust=Trust(KEY))
    content = json.loads((made / manifests.NAME).read_text())
    files = {name: file.model_dump(mode="json") for name, file in manifests.list_files(made).items()}
    forge_the_digest(made, content | {"files": files})
    verify(made, trust=UNSIGNED)  # whole by its digests
    with pytest.raises(Untrusted):
        verify(made, trust=Trust(KEY))


def test_an_older_backup_is_not_taken_for_a_newer_one(tmp_path: Path) -> None:
    made = signed(tmp_path, KEY)
    renamed = made.rename(made.with_name("20270101T020000Z"))
    with pytest.raises(Untrusted, match="is of another time: it was made at 20261124T020000Z"):
        verify(renamed, trust=Trust(KEY))


def test_a_drill_of_an_untrusted_backup_starts_nothing_and_notes_nothing(tmp_path: Path) -> None:
    made = signed(tmp_path / "backups", OTHER_STACKS_KEY)
    with embedded_toolbox.open_toolbox(tmp_path / "root") as toolbox:
        for trust in (Trust(KEY), Trust()):
            with pytest.raises(Untrusted):
                drill(toolbox, made, trust=trust)
    assert not store.drill_file(made).exists()
    assert not (tmp_path / "root").exists()


def test_the_key_is_a_secret_in_no_text() -> None:
    assert KEY not in repr(Trust(KEY))
    made = BackupKeyProvider().create({"engine": "docker"})
    assert made.outs is not None
    assert len(made.outs["value"]) == 48
    kept = BackupKeyProvider().update("backup-key", made.outs, {"configured": KEY, "engine": "docker"}).outs
    assert kept == {"generated": made.outs["value"], "value": KEY, "configured": KEY, "engine": "docker"}
    assert (BackupKeyProvider().update("backup-key", kept, {"engine": "docker"}).outs or {})["value"] == made.outs[
        "value"
    ]


@given(st.binary(min_size=1, max_size=40), st.lists(st.binary(max_size=70_000), max_size=4))
@settings(max_examples=20, deadline=None)
def test_a_copy_opens_with_the_key_and_with_no_other(word: bytes, chunks: list[bytes]) -> None:
    key, whole = word.hex(), b"tar" + b"".join(chunks)
    copy = b"".join(encryption.encrypt([b"tar", *chunks], key))
    assert copy.startswith(encryption.MAGIC)
    assert b"".join(encryption.decrypt([copy[:7], copy[7:]], key)) == whole
    for wrong, other in ((copy, key + "0"), (copy[:-1], key), (copy[:-1] + bytes([copy[-1] ^ 1]), key)):
        with pytest.raises(BackupFailed, match="isn't encrypted with this stack's key, or it is damaged"):
            b"".join(encryption.decrypt([wrong], other))


def test_the_printed_identity_is_ages_and_a_copy_without_a_key_is_none(tmp_path: Path) -> None:
    own = pyrage.x25519.Identity.from_str(encryption.age_identity(KEY))
    assert str(own) == encryption.age_identity(KEY)
    assert KEY not in encryption.age_identity(KEY)
    made = signed(tmp_path, KEY)
    copy = b"".join(encryption.encrypt(pack(made), KEY))
    assert not any(word in copy for word in (b"manifest.json", b"globals", b"a%20b", b"CREATE ROLE"))
    # by hand, without the product
    with tarfile.open(fileobj=io.BytesIO(pyrage.decrypt(copy, [own]))) as archive:
        assert f"{made.name}/manifest.json" in archive.getnames()
    with pytest.raises(BackupFailed, match="the state has no key yet"):
        next(encryption.encrypt([b"x"], ""))


def test_bech32_is_that_of_its_standard() -> None:
    """Two of BIP 173's own vectors."""
    assert encryption.bech32("a", b"") == "a12uel5l"
    every = bytes.fromhex("00443214c74254b635cf84653a56d7c675be77df")
    assert encryption.bech32("abcdef", every) == "abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"


def test_a_copy_that_was_swapped_is_fetched_and_then_refused(tmp_path: Path) -> None:
    """Who may write over there can put a plain archive in its place: it unpacks, and isn't signed."""
    made = signed(tmp_path, OTHER_STACKS_KEY)
    into = tmp_path / "fetched" / made.name
    into.parent.mkdir()
    unpack(encryption.decrypt(pack(made), KEY), into)
    with pytest.raises(Untrusted):
        verify(into, trust=Trust(KEY))

"""Each command of pgstack against a stranger who took the port of the stack's server while it was down."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from pgvector_stacks.automation.toolchain import Toolchain
from pgvector_stacks.embedded import embedded_server
from tests.engine.checkout import Checkout, copy_of_the_program, stop_servers
from tests.security.test_strangers import CLEARTEXT, MD5, Stranger, stranger

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, toolchain: Toolchain) -> Iterator[Checkout]:
    assert toolchain.pulumi.exists()
    mine = copy_of_the_program(tmp_path_factory.mktemp("strangers") / "check out")
    try:
        mine.ok("up")
        yield mine
    finally:
        stop_servers(mine.root)


COMMANDS = (
    ("status", "local"), ("verify", "local"), ("doctor", "local"), ("test-connection", "local"),
    ("backup", "create", "local"),
)  # fmt: skip


@pytest.mark.promise("No command gives a stranger at the server's address a password")
def test_no_command_gives_a_stranger_a_password(stack: Checkout) -> None:
    """Then `up`: the server gets another port; and its pg_hba.conf, open as an earlier release's upgrade left it, is
    closed, as its warning says.
    """
    words, port = stack.passwords(), embedded_server.read_last_port(stack.directory)
    assert port is not None
    embedded_server.stop(stack.directory)
    rules = stack.directory.path / "pg_hba.conf"
    rules.write_text(rules.read_text().replace("scram-sha-256\n", "trust\n"))

    def learnt(he: Stranger) -> bool:
        return any(he.learnt(*words, user=user) for user in ("postgres", "app"))

    with stranger(CLEARTEXT, port=port) as he, ThreadPoolExecutor(2) as pool:
        for command, said in zip(COMMANDS, pool.map(lambda each: stack.run(*each), COMMANDS), strict=True):
            assert said.returncode, said.stdout
            told = " ".join(said.stdout.replace("│", " ").split())
            assert "no server of pgstack's" in told, (command, said.stdout)
            assert not [word for word in words if word in said.stdout]
        assert he.clients >= len(COMMANDS)
        assert not learnt(he), bytes(he.got)
    with stranger(MD5, port=port) as he:
        assert "lets anybody on this machine in without a password" in stack.ok("up", "local")
        assert not learnt(he), bytes(he.got)
    now = embedded_server.read_last_port(stack.directory)
    with pytest.raises(psycopg.OperationalError, match="no password supplied"):
        psycopg.connect(host=embedded_server.HOST, port=now, user=embedded_server.ADMIN, dbname="postgres")

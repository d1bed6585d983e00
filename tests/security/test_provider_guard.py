"""Another account of this machine: what the providers' process, which listens on loopback, does for it."""

from __future__ import annotations

import base64
import os
import pickle
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.password import GeneratedPasswordProvider
from components.shared.provider import serialize
from pgvector_stacks.automation import provider_guard
from pgvector_stacks.config.environment import ROOT
from pgvector_stacks.connections import loopback
from tests.components.test_provider_process import PROVIDER

NOBODY = 65533
ASKS = """
import os, sys
import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import provider_pb2_grpc
if int(sys.argv[2]):
    os.setresgid(*[int(sys.argv[2])] * 3)
    os.setresuid(*[int(sys.argv[2])] * 3)
stub = provider_pb2_grpc.ResourceProviderStub(grpc.insecure_channel(f"127.0.0.1:{sys.argv[1]}"))
try:
    print("version", stub.GetPluginInfo(empty_pb2.Empty(), timeout=20).version)
except grpc.RpcError as error:
    print(error.code().name)
"""


class Evil:
    def __init__(self, what: Any, *arguments: Any) -> None:
        self.made = what, arguments

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.promise("A state can make the providers' process run nothing but providers")
@pytest.mark.parametrize("what", [os.system, eval, subprocess.check_output, pickle.loads, Path])
def test_a_pickle_may_name_nothing_but_a_provider(what: Any, tmp_path: Path) -> None:
    with pytest.raises(pickle.UnpicklingError, match="no provider of this program"):
        provider_guard.load(pickle.dumps(Evil(what, f"touch {tmp_path}/ran"), protocol=4))
    assert list(tmp_path.iterdir()) == []


def test_our_providers_are_made_of_what_the_state_holds() -> None:
    text = base64.b64decode(serialize(GeneratedPasswordProvider()))
    assert isinstance(provider_guard.load(text), GeneratedPasswordProvider)


def test_what_a_pickle_may_not_name_is_not_even_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported.py").write_text("import pathlib\npathlib.Path(__file__).with_name('ran').touch()\n")
    monkeypatch.syspath_prepend(tmp_path)
    for line in (b"cimported\nSomeProvider\n.", b"ccomponents.shared.registry\nimportlib.import_module\n."):
        with pytest.raises(pickle.UnpicklingError, match="no provider of this program"):
            provider_guard.load(line)
    assert not (tmp_path / "ran").exists()


def test_a_connection_belongs_to_whose_row_has_both_ends() -> None:
    """One that is mapped to IPv6 too; and the same port on another loopback address is another's."""
    row = "  0: {}:{:04X} {}:{:04X} 01 00000000:00000000 00:00000000 00000000 {:5} 0 1 1"
    head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode"
    here, there, mapped = "0100007F", "0200007F", "0000000000000000FFFF00000100007F"
    table = "\n".join(
        [head, row.format(here, 40000, here, 443, 7), row.format(here, 5000, here, 40000, 0),
         row.format(there, 40000, here, 5000, 8), row.format(here, 40000, here, 5000, 1000),
         row.format(mapped, 40001, mapped, 5000, 9)]
    )  # fmt: skip
    own = ("127.0.0.1", 5000)
    assert loopback.find_owner(table, ("127.0.0.1", 40000), own) == 1000
    assert loopback.find_owner(table, ("127.0.0.2", 40000), own) == 8
    assert loopback.find_owner(table, ("127.0.0.1", 40001), own) == 9
    assert loopback.find_owner(table, ("127.0.0.1", 40000), ("127.0.0.1", 5001)) is None


@pytest.mark.promise("Another account's connection isn't taken for root's once it is closed")
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
def test_a_connection_that_another_user_has_closed_is_not_ours() -> None:
    """The kernel lists it as root's, and what came over it before can still be read."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        own = server.getsockname()
        sends = f"exec 3<>/dev/tcp/127.0.0.1/{own[1]}; printf x >&3"
        subprocess.run(["bash", "-c", sends], user=NOBODY, check=True, timeout=20)
        time.sleep(0.3)  # until the kernel has acknowledged the end, it still lists the user
        connection, client = server.accept()
        with connection:
            assert connection.recv(9) == b"x"
            assert not loopback.is_own_users_connection(client, own)
        with socket.create_connection(own) as ours:
            assert loopback.is_own_users_connection(ours.getsockname(), own)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_the_kernel_names_the_owner_of_one_connection(family: socket.AddressFamily) -> None:
    """Also of a socket of IPv6, which gRPC's clients have; without a table of all connections."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket(family) as ours:
        own = server.getsockname()
        ours.connect(own if family == socket.AF_INET else (f"::ffff:{own[0]}", own[1]))
        port = ours.getsockname()[1]
        assert loopback.query_owner(("127.0.0.1", port), own) == os.geteuid()
        assert loopback.query_owner(("127.0.0.2", port), own) is None
        assert loopback.query_owner(own, ("127.0.0.1", port)) is None  # which nobody has accepted
        assert loopback.query_owner(own, ("127.0.0.1", 1)) is None  # whose port listens
        ours.close()
        assert loopback.query_owner(("127.0.0.1", port), own) is None


@given(st.binary(max_size=120), st.sampled_from((socket.AF_INET, socket.AF_INET6)))
def test_an_answer_about_anything_else_names_nobody(noise: bytes, family: int) -> None:
    """Whatever a kernel writes, only the whole answer about both endpoints counts."""
    client, server = ("127.0.0.1", 40000), ("127.0.0.1", 5000)
    prefix = b"\0" * 10 + b"\xff\xff" if family == socket.AF_INET6 else b""
    ends = [(prefix + socket.inet_aton(address)).ljust(16, b"\0") for address, _ in (client, server)]
    body = loopback.ANSWER.pack(family, 1, 0, 0) + loopback.ENDPOINTS.pack(client[1], server[1], *ends)
    body += loopback.INTERFACE_AND_COOKIE.pack(0, 0, 0) + loopback.REST.pack(0, 0, 0, 1000, 77)
    whole = loopback.HEADER.pack(loopback.HEADER.size + len(body), loopback.BY_FAMILY, 0, 0, 0) + body
    assert loopback.parse_answer(whole + noise, client, server) == 1000
    assert loopback.parse_answer(whole, ("127.0.0.2", 40000), server) is None
    assert loopback.parse_answer(whole[: len(whole) - 1 - len(noise) % len(whole)], client, server) is None
    assert loopback.parse_answer(noise, client, server) is None


@pytest.mark.parametrize(
    ("peer", "place"),
    [("ipv4:127.0.0.2:40000", ("127.0.0.2", 40000)), ("ipv6:%5B::ffff:127.0.0.1%5D:7", ("127.0.0.1", 7)),
     ("ipv6:[::ffff:127.0.0.1]:7", ("127.0.0.1", 7)), ("ipv6:%5B::1%5D:7", None)],
)  # fmt: skip
def test_a_peer_is_read_with_its_address(peer: str, place: tuple[str, int] | None) -> None:
    assert provider_guard.parse_peer(peer) == place


def test_a_peer_without_an_address_of_the_servers_kind_is_refused() -> None:
    assert not provider_guard.is_own_user("ipv6:%5B::1%5D:7", 5000)


@pytest.mark.promise("The providers' process answers only its own user")
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
def test_the_process_answers_its_own_user_alone() -> None:
    with subprocess.Popen([*PROVIDER, "127.0.0.1:1"], cwd=ROOT, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout
            port = process.stdout.readline().decode().strip()
            said = [
                subprocess.run(
                    [sys.executable, "-c", ASKS, port, str(uid)], capture_output=True, text=True, check=True, timeout=60
                ).stdout.split()[0]
                for uid in (NOBODY, 0)
            ]
        finally:
            process.kill()
    assert said == ["PERMISSION_DENIED", "version"]

"""Another account of this machine: what `pgstack` itself, which listens on loopback while Pulumi works, does for it."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil
import pytest

from tests.engine.checkout import Checkout
from tests.security.test_provider_guard import NOBODY

pytestmark = pytest.mark.engine
WITHIN_S = 60.0
# As Pulumi's engine asks: run the program for me; and: this is what happened
ASKS = """
import os, sys
import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import events_pb2, events_pb2_grpc, language_pb2_grpc
os.setresgid(*[int(sys.argv[1])] * 3)
os.setresuid(*[int(sys.argv[1])] * 3)
for port in sys.argv[2:]:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")
    try:
        language_pb2_grpc.LanguageRuntimeStub(channel).About(empty_pb2.Empty(), timeout=20)
        print("runs the program")
    except grpc.RpcError as error:
        print(error.code().name)
    try:
        event = events_pb2.EventRequest(event='{"sequence": 1}')
        events_pb2_grpc.EventsStub(channel).StreamEvents(iter([event]), timeout=20)
        print("takes events")
    except grpc.RpcError as error:
        print(error.code().name)
"""


def ports_of(process: int) -> list[int]:
    found = psutil.Process(process).net_connections("tcp")
    return sorted({each.laddr.port for each in found if each.status == psutil.CONN_LISTEN})


@pytest.mark.promise("While Pulumi works, `pgstack` answers its own user alone")
@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user, which root alone may")
def test_pgstack_answers_its_own_user_alone(checkout: Checkout) -> None:
    process = checkout.start("preview", "local")
    try:
        deadline = time.monotonic() + WITHIN_S
        while len(ports := ports_of(process.pid)) < 2:
            assert process.poll() is None, process.stdout.read() if process.stdout else ""
            assert time.monotonic() < deadline, ports
            time.sleep(0.02)
        said = subprocess.run(
            [sys.executable, "-c", ASKS, str(NOBODY), *map(str, ports)], capture_output=True, text=True, check=True
        ).stdout.split("\n")[:-1]
        output, _ = process.communicate(timeout=WITHIN_S)
    finally:
        process.kill()
    # one port runs the program, one takes events; what a port doesn't do at all is UNIMPLEMENTED
    assert sorted(said) == ["PERMISSION_DENIED"] * 2 + ["UNIMPLEMENTED"] * 2, said
    assert process.returncode == 0, output

"""`pgstack plan-memory`: numbers as people write them, answers for people and for programs, one message a mistake."""

from __future__ import annotations

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.cli import app, plan_memory
from pgvector_stacks.cli.plan_memory import Question, compute_answer, describe_fit, parse_count
from pgvector_stacks.common.errors import SizeRefused
from pgvector_stacks.config.environment import from_config


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["pgstack", "plan-memory", *arguments])
    with pytest.raises(SystemExit) as ended:
        app.main()
    return int(str(ended.value.code))


@pytest.mark.parametrize(
    "text", ["1000000", "1e6", "1E6", "1.0e6", "1_000_000", "1,000,000", "1M", "1m", "1000k", "0.001G", " 1 M "]
)
def test_a_million_is_written_in_many_ways(text: str) -> None:
    assert parse_count("--vectors", text) == 10**6


@pytest.mark.parametrize(
    "text", ["", "x", "-1", "1.5", "1e-3", "nan", "inf", "1,00", "1 000", "1_", "1MM", "1e99", "9" * 50, "٣", "0x10"]
)
def test_what_is_no_whole_number_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(SizeRefused) as error:
        parse_count("--vectors", text)
    assert str(error.value) == (
        f"--vectors {text!r}: allowed is a whole number, like 1000000, 1_000_000, 1,000,000, 1e6 or 1M"
    )


@given(st.integers(0, 10**15 - 1))
def test_a_number_is_the_same_with_and_without_separators(value: int) -> None:
    assert (
        parse_count("--m", str(value)) == parse_count("--m", f"{value:,}") == parse_count("--m", f"{value:_}") == value
    )


def test_a_stack_that_is_too_small_is_told_what_would_do() -> None:
    lines = describe_fit(compute_answer(Question("1e6", "1536", stack="production")))
    assert lines[0] == "production (pgvector:memoryMb = 16384): not enough"
    assert "the rest is inserted on disk, many times slower" in lines[1]
    assert lines[2].startswith("  search: index and hot rows take 8.5 GiB of the 12.1 GiB left for them")
    assert lines[3].startswith("  set pgvector:memoryMb to ")
    assert lines[4].startswith("  or index as halfvec(1536): memoryMb ")
    assert lines[4].endswith(", which this stack has")
    assert lines[5].endswith("; its hits are to be ranked again by the vectors")


def test_a_stack_that_is_large_enough_is_told_with_which_setting() -> None:
    assert describe_fit(compute_answer(Question("50k", "384", stack="dev"))) == [
        "dev (pgvector:memoryMb = 1024): enough",
        "  build: stays in memory with maintenance_work_mem = 119MB (the server's own is 64MB; the scripts have"
        " 125MB, another session asks for it with SET)",
        "  search: index and hot rows take 178 MiB of the 586 MiB left for them",
    ]
    assert describe_fit(compute_answer(Question("10k", "384", stack="dev")))[1] == (
        "  build: stays in memory with the server's own maintenance_work_mem of 64MB"
    )


def test_a_stack_is_judged_by_its_own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    question = Question("50k", "384", stack="dev")
    plain = compute_answer(question)
    own = {"settings": {"maintenance_work_mem": "120MB", "autovacuum_max_workers": 2, "max_connections": 10}}
    monkeypatch.setattr(plan_memory, "from_file", lambda stack: from_config(stack, own))
    found = compute_answer(question)
    assert describe_fit(found)[:2] == [
        "dev (pgvector:memoryMb = 1024): enough",
        "  build: stays in memory with the server's own maintenance_work_mem of 120MB",
    ]
    # what they save is room for index and rows
    assert (found.plan.container_mb or 0) < (plain.plan.container_mb or 0)


def test_the_table_names_every_size(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--vectors", "1M", "--dimensions", "1,536", "--type", "halfvec", "--m", "48") == 0
    printed = capsys.readouterr()
    assert "1,000,000 × halfvec(1536), HNSW with m = 48" in printed.out
    for name in ("table", "index", "hot rows", "maintenance_work_mem", "/dev/shm", "memoryMb to build", "memoryMb"):
        assert name in printed.out
    assert "ef_construction must be at least 96" in printed.out
    assert printed.err == ""


def test_json_has_the_same_numbers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(monkeypatch, "--vectors", "1e6", "--dimensions", "1536", "--stack", "dev", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    plan = compute_answer(Question("1e6", "1536", stack="dev")).plan
    assert (found["indexMb"], found["shmMb"], found["containerMb"]) == (
        plan.index_mb, plan.shm_mb, plan.container_mb,
    )  # fmt: skip
    assert found["table"]["column"] == "vector"
    assert found["stack"]["name"] == "dev"
    assert found["stack"]["enough"] is False
    assert set(found["instead"]) == {"halfvec", "bit"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--vectors", "many", "--dimensions", "3"], "error: --vectors 'many': allowed is a whole number"),
        (["--vectors", "1", "--dimensions", "3072"], "error: dimensions 3072: an HNSW index takes 1 to 2000"),
        (["--vectors", "1", "--dimensions", "3", "--type", "half"], "error: type 'half': allowed are vector, halfvec"),
        (["--vectors", "1", "--dimensions", "3", "--column", "halfvek"], "error: column 'halfvek': allowed are"),
        (["--vectors", "1", "--dimensions", "3", "--stack", "prod"], 'did you mean "production"?'),
        (["--vectors", "1"], "error: Missing option '--dimensions'"),
    ],
)
def test_a_mistake_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert run(monkeypatch, *arguments) == 1
    printed = capsys.readouterr()
    assert told in printed.err
    assert "Traceback" not in printed.err
    assert printed.out == ""

"""The second program: what it takes from the database's stack, and where it puts the URL. No engine, no container."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from examples.search.stack import StackUnavailable, app_url
from pgvector_stacks.config.environment import ROOT
from tests.components.declared import COMPUTED, Runner

PROGRAM = ROOT / "examples" / "app-stack" / "__main__.py"
URL = "postgresql://app:word@pgvector-local:5432/app"
OUTPUTS = {"appUrlInternal": URL, "network": "pgvector-local", "schemaRevision": "7ed401a82945"}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Runner]:
    reference = {"outputs": OUTPUTS, "secretOutputNames": ["appUrlInternal"]}
    monkeypatch.setitem(COMPUTED, "pulumi:pulumi:StackReference", reference)
    runner = Runner()
    yield runner
    runner.close()


def test_the_url_reaches_the_container_as_a_secret_file_and_in_no_environment(run: Runner) -> None:
    def program() -> dict[str, object]:
        runpy.run_path(str(PROGRAM))
        return {}

    container = run(program).declared["search"]
    assert container.inputs["uploads"] == [{"file": "/run/secrets/pgvector-app-url", "content": URL}]
    assert "uploads" in container.secret
    rest = {key: value for key, value in container.inputs.items() if key != "uploads"}
    assert "word" not in str(rest)
    assert rest["envs"] == [
        "PGVECTOR_APP_URL_FILE=/run/secrets/pgvector-app-url",
        "SCHEMA_REVISION=7ed401a82945",
    ]
    assert rest["networksAdvanced"] == [{"name": "pgvector-local"}]
    assert rest["image"] == "search-app"


def test_the_example_reads_its_url_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGVECTOR_APP_URL", raising=False)
    file = tmp_path / "url"
    monkeypatch.setenv("PGVECTOR_APP_URL_FILE", str(file))
    with pytest.raises(StackUnavailable, match=r"PGVECTOR_APP_URL_FILE: .*/url can't be read: No such file"):
        app_url("local")
    file.write_text(f"{URL}\n")
    assert app_url("local") == URL

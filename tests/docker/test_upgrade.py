"""The version upgrade on a real Docker Engine: 15 (bookworm) to 17 (trixie) by changing the image, an `up`."""

from __future__ import annotations

import pytest

from tests.docker.conftest import PG15, PG17, Make

pytestmark = [pytest.mark.engine, pytest.mark.docker]


def test_a_changed_major_is_an_ordinary_up(make: Make) -> None:
    stack = make("dev", image=PG15)
    stack.up()
    stack.fill()
    stack.configure(image=PG17)
    said = stack.ok("preview", stack.stack)
    print(said)  # noqa: T201
    assert "upgrades PostgreSQL 15." in said
    said = stack.up()
    print(said)  # noqa: T201
    assert stack.rows() == 1000
    assert "unchanged" in stack.up()

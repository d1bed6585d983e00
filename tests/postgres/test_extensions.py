"""Which image may serve the extensions that the databases have."""

from __future__ import annotations

import pytest

from pgvector_stacks.docker.extension_check import (
    ImageExtensions,
    InstalledExtension,
    explain_refusal,
    parse_image_extensions,
)

PRINTED = """default plpgsql 1.0
default vector 0.8.0
default postgis 3.5.0
elsewhere postgis
script vector--0.8.0.sql
script vector--0.7.4--0.8.0.sql
script vector--0.7.3--0.7.4.sql
script vector--0.8.0--0.7.9.sql
script plpgsql--1.0.sql
"""


@pytest.mark.parametrize(
    ("name", "version", "served"),
    [
        ("vector", "0.8.0", True),
        ("vector", "0.7.4", True),
        ("vector", "0.7.3", True),  # by way of 0.7.4
        ("vector", "0.8.1", False),  # newer than the image's
        ("vector", "0.6.0", False),  # no script begins there
        ("plpgsql", "1.0", True),
        ("postgis", "3.4.0", True),  # its scripts lie elsewhere: the server itself decides
        ("pg_cron", "1.6", False),
    ],
)
def test_an_image_serves_what_it_has_or_can_update(name: str, version: str, served: bool) -> None:
    assert parse_image_extensions(PRINTED).can_serve(InstalledExtension("app", name, version)) == served


def test_what_an_image_cannot_serve_is_told_by_database_with_the_remedy() -> None:
    offer = ImageExtensions({"vector": "0.7.4"})
    there = [
        InstalledExtension("app", "vector", "0.8.0"),
        InstalledExtension("app", "pg_cron", "1.6"),
        InstalledExtension("b", "vector", "0.7.4"),
    ]
    said = explain_refusal(there, offer, "db:old")
    assert "database app has the extension vector 0.8.0, db:old has 0.7.4 and no way from the one to the other" in said
    assert "database app has the extension pg_cron 1.6, db:old has none of it" in said
    assert "database b" not in said
    assert "choose an image with the same or a newer version of it (pgvector:image)" in said
    assert explain_refusal(there[2:], offer, "db:old") == ""

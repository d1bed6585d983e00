"""What an image's name says: taken apart as Docker does it, and a version only where it is PostgreSQL's."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvector_stacks.common.image_names import (
    MAJORS,
    add_digest,
    describe_pinning,
    is_frozen,
    is_pinned,
    parse_major,
    split_name,
)

PARTS = st.text("abcdefghijklmnopqrstuvwxyz0123456789", min_size=1, max_size=8)
HOSTS = st.one_of(st.just(""), PARTS.map("{}/".format), st.builds("{}:{}/".format, PARTS, st.integers(1, 65535)))
TAGS = st.one_of(st.just(""), PARTS)
DIGESTS = st.one_of(st.just(""), st.just("sha256:" + "a1" * 32))


@given(HOSTS, st.lists(PARTS, min_size=1, max_size=3), TAGS, DIGESTS)
def test_a_name_is_taken_apart_and_put_together_again(host: str, parts: list[str], tag: str, digest: str) -> None:
    """A registry's port is no tag."""
    repository = host + "/".join(parts)
    image = repository + (f":{tag}" if tag else "") + (f"@{digest}" if digest else "")
    assert split_name(image) == (repository, tag, digest)


@pytest.mark.parametrize(
    ("image", "major"),
    [
        ("pgvector/pgvector:pg17", 17),
        ("pgvector/pgvector:0.8.6-pg17-trixie", 17),
        ("pgvector/pgvector:0.8.6-pg18@sha256:" + "0" * 64, 18),
        ("registry.example:5000/pgvector/pgvector:pg16", 16),
        ("ankane/pgvector", 15), ("ankane/pgvector:latest", 15), ("docker.io/ankane/pgvector:v0.5.1", 15),
        ("postgres:17", 17), ("postgres:17.2-bookworm", 17), ("docker.io/library/postgres:18", 18),
        ("postgres:latest", None), ("postgres", None), ("pgvector/pgvector", None),
        ("example/database:17", None),  # perhaps the seventeenth of theirs
        ("example/database:pg170", None), ("example/database:mypg17", None), ("postgres:170", None),
        ("registry.example:5017/some/image", None),
    ],
)  # fmt: skip
def test_the_major_version_is_told_by_the_name_or_not_at_all(image: str, major: int | None) -> None:
    assert parse_major(image) == major


@given(st.sampled_from(MAJORS), HOSTS, DIGESTS)
def test_every_supported_major_is_read_from_every_registry(major: int, host: str, digest: str) -> None:
    image = f"{host}pgvector/pgvector:0.8.6-pg{major}-trixie" + (f"@{digest}" if digest else "")
    assert parse_major(image) == major
    assert not is_frozen(image)


@given(st.text())
def test_any_text_gets_an_answer(image: str) -> None:
    split_name(image)
    assert parse_major(image) is None or 10 <= (parse_major(image) or 0) <= 99


DIGEST = "sha256:" + "ab" * 32


def test_an_image_is_pinned_by_a_digest_and_by_nothing_else() -> None:
    assert is_pinned(f"pgvector/pgvector:0.8.6-pg17@{DIGEST}")
    assert not any(map(is_pinned, ("pgvector/pgvector:0.8.6-pg17", "pgvector/pgvector", "localhost:5000/pgvector")))


def test_the_digest_of_the_image_that_is_here_is_proposed_and_never_another_repositorys() -> None:
    tag = "pgvector/pgvector:0.8.6-pg17-trixie"
    here = [f"mirror.example/pgvector/pgvector@sha256:{'0' * 64}", f"pgvector/pgvector@{DIGEST}"]
    assert add_digest(tag, here) == f"{tag}@{DIGEST}"
    assert add_digest(f"docker.io/{tag}", here) == f"docker.io/{tag}@{DIGEST}"
    assert (add_digest(tag, here[:1]), add_digest(tag, [])) == ("", "")
    assert describe_pinning(tag, here).endswith(f"pgvector:image: {tag}@{DIGEST}")
    assert "`pgstack doctor` shows the digest" in describe_pinning(tag)
    assert describe_pinning(f"{tag}@{DIGEST}") == f"{tag}@{DIGEST} is pinned by its digest"


@given(st.text(), st.lists(st.text()))
def test_a_proposal_is_pinned(image: str, known: list[str]) -> None:
    found = add_digest(image, known)
    assert not found or is_pinned(found)

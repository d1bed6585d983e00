"""Reads from an image's name which PostgreSQL the image contains, before any pull.

`ankane/pgvector` and `pgvector/pgvector` are one lineage. The first stopped in October 2023 at PostgreSQL 15.4 and
pgvector 0.5.1, and its author moved to the second. Official images and images built on them share paths, uid and stop
signal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

MAJORS = (15, 16, 17, 18)
FROZEN = "ankane/pgvector"
FROZEN_MAJOR = 15
# Tags such as pg17 and 0.8.6-pg17-trixie. A bare version such as 17.2 counts only in the repository postgres.
TAG = re.compile(r"(?:^|[^a-z])pg(\d{2})(?!\d)")
OFFICIAL = re.compile(r"(?:^|/)postgres$")
VOLUME = "/var/lib/postgresql"


def split_name(image: str) -> tuple[str, str, str]:
    """Return (repository, tag, digest); tag or digest is "" if the name has none."""
    name, _, digest = image.partition("@")
    head, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:  # the colon of a registry's port
        return name, "", digest
    return head, tag, digest


def parse_major(image: str) -> int | None:
    """Return PostgreSQL's major version from the image's name; None if the name does not have it."""
    repository, tag, _ = split_name(image)
    if is_frozen(image):
        return FROZEN_MAJOR
    if found := TAG.search(tag):
        return int(found[1])
    if OFFICIAL.search(repository) and (found := re.match(r"(\d{2})(?!\d)", tag)):
        return int(found[1])
    return None


def is_frozen(image: str) -> bool:
    """True if the image no longer gets updates."""
    return split_name(image)[0].removeprefix("docker.io/") == FROZEN


def is_pinned(image: str) -> bool:
    """True if the name has a digest. Without a digest, the tag may point to another image tomorrow."""
    return split_name(image)[2].startswith("sha256:")


def add_digest(image: str, repo_digests: Sequence[str]) -> str:
    """Return the image's name with its digest from a Docker Engine's `RepoDigests`; "" if there is no digest.

    >>> add_digest("pgvector/pgvector:0.8.6-pg17", ["pgvector/pgvector@sha256:ab"])
    'pgvector/pgvector:0.8.6-pg17@sha256:ab'
    """
    repository = split_name(image)[0].removeprefix("docker.io/")
    for each in repo_digests:
        name, _, digest = each.partition("@")
        if name.removeprefix("docker.io/") == repository and digest.startswith("sha256:"):
            return f"{image.partition('@')[0]}@{digest}"
    return ""


def describe_pinning(image: str, repo_digests: Sequence[str] | None = None) -> str:
    """Say whether the image is pinned, and how to pin it. `repo_digests`: None if no Docker Engine was asked."""
    if is_pinned(image):
        return f"{image} is pinned by its digest"
    if repo_digests is None:
        proposal = "`pgstack doctor` shows the digest of the image that a host has"
    elif known := add_digest(image, repo_digests):
        proposal = f"the one that is here:  pgvector:image: {known}"
    else:
        proposal = "the one that is here comes from no registry that the name tells"
    return f"{image} is named only by its tag, which can be another image tomorrow; {proposal}"


def get_pgdata(major: int) -> str:
    """Return PGDATA, for every major in the layout of the 18 image. The volume is mounted two levels above PGDATA."""
    return f"{VOLUME}/{major}/docker"

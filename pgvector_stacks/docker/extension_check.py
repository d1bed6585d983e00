"""Checks that an image has the extensions that the databases use, before the running server is touched.

The live server lists the installed extensions; the image's files list the offered ones. An image has the library of an
extension's default version. So each installed version must be that version, or the image's update scripts must lead
from the installed version to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

import docker

from pgvector_stacks.common import queries, shell
from pgvector_stacks.connections.connection import INSPECTION_OPTIONS, Address, connect
from pgvector_stacks.docker.container_spec import OLD_MOUNT
from pgvector_stacks.docker.docker_host import open_throw_away, run_to_end

USER = "postgres"


@dataclass(frozen=True, slots=True)
class InstalledExtension:
    """An extension that is installed in a database."""

    database: str
    name: str
    version: str


@dataclass(frozen=True, slots=True)
class ImageExtensions:
    """The extensions of an image.

    `defaults`: default version by extension; `updates`: the update scripts as (extension, from, to);
    `scripts_elsewhere`: the extensions whose scripts are in a folder of their own, which is not read.
    """

    defaults: Mapping[str, str]
    updates: frozenset[tuple[str, str, str]] = frozenset()
    scripts_elsewhere: frozenset[str] = field(default=frozenset())

    def can_serve(self, one: InstalledExtension) -> bool:
        default = self.defaults.get(one.name)
        if default is None or default == one.version or one.name in self.scripts_elsewhere:
            return default is not None
        reached, todo = {one.version}, [one.version]
        while todo:
            at = todo.pop()
            for name, source, target in self.updates:
                if name == one.name and source == at and target not in reached:
                    reached.add(target)
                    todo.append(target)
        return default in reached


def parse_image_extensions(output: str) -> ImageExtensions:
    """Parse the output of common/shell/extensions_offered.sh."""
    defaults, updates, unseen = {}, set(), set()
    for line in output.splitlines():
        kind, _, rest = line.partition(" ")
        if kind == "default":
            name, _, version = rest.partition(" ")
            defaults[name] = version
        elif kind == "elsewhere":
            unseen.add(rest)
        elif kind == "script":
            parts = rest.removesuffix(".sql").split("--")
            if len(parts) == 3:
                updates.add((parts[0], parts[1], parts[2]))
    return ImageExtensions(defaults, frozenset(updates), frozenset(unseen))


def explain_refusal(installed: Iterable[InstalledExtension], offer: ImageExtensions, image: str) -> str:
    """Return why the image can't serve these databases, each by name; "" if it can."""
    found = []
    for one in installed:
        if offer.can_serve(one):
            continue
        has = offer.defaults.get(one.name)
        found.append(
            f"database {one.database} has the extension {one.name} {one.version}, {image} has "
            + ("none of it" if has is None else f"{has} and no way from the one to the other")
        )
    if not found:
        return ""
    return (
        "\n    ".join(found) + "\n  choose an image with the same or a newer version of it (pgvector:image), "
        "or drop the extension where nothing needs it:  DROP EXTENSION …"
    )


def list_image_extensions(client: docker.DockerClient, name: str, image: str) -> ImageExtensions | None:
    """List the extensions of an image; None if that fails. `name`: the stack's container. Raises DockerFailed."""
    command = ["sh", "-c", shell.get("extensions_offered")]
    with open_throw_away(
        client, name, image, command, user=USER, tmpfs={OLD_MOUNT: ""}
    ) as container:  # fmt: skip
        done = run_to_end(container, timeout_s=60, lines=10000)
    return parse_image_extensions(done.output) if done.code == 0 else None


def list_installed(address: Address) -> list[InstalledExtension]:
    """List the extensions in all databases of a server. `address`: the administrator's.

    Raises ConnectionFailed, psycopg.Error.
    """
    with connect(replace(address, database="postgres"), options=INSPECTION_OPTIONS) as connection:
        databases = [row[0] for row in connection.execute(queries.get("databases")).fetchall()]
    found = []
    for database in databases:
        with connect(replace(address, database=database), options=INSPECTION_OPTIONS) as connection:
            rows = connection.execute("SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1").fetchall()
        found += [InstalledExtension(database, name, version) for name, version in rows]
    return found

"""Adopts an existing volume in the layout of the official images up to 17, as Docker Compose users have it.

`inspect_legacy_volume` reads what the volume holds. `explain_refusal` says why the volume may not be adopted.
`describe_adoption` says what the adoption will do. A preview runs all three, and an `up` runs them again before it
changes anything. `adopt` moves the data within the volume to where the server expects it; common/shell/adopt.sh states
the invariant. The takeover of the database's content is in migrations/takeover.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import docker
from docker.models.containers import Container
from docker.types import Mount

from pgvector_stacks.common import shell
from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.docker.container_spec import ContainerSpec
from pgvector_stacks.docker.data_volume import USER, explain_failed_step
from pgvector_stacks.docker.docker_host import ContainerResult, list_volume_users, open_throw_away, run_to_end

COMPOSE_PROJECT = "com.docker.compose.project"
ALPINE_UID = 70
CLEAN_STATES = ("shut down",)
RECOVERABLE_STATES = ("in production", "shutting down", "in crash recovery")
# Not the path where the image declares a volume: Docker would mount that one over our folder `data`, or create `data`.
MOUNT = "/volume"
TIMEOUT_S = 3600.0  # a killed server's data is recovered before it moves


@dataclass(frozen=True, slots=True)
class MountingContainer:
    """A container that mounts the volume. `project`: its Compose project, "" if Compose did not create it."""

    name: str
    running: bool
    project: str


@dataclass(frozen=True, slots=True)
class LegacyDirectory:
    """A data directory in the old layout. `where`: its path in the volume, "." for the volume's root.

    `foreign_file`: "UID PATH" of a file that the image's user postgres does not own, "" if there is none.
    """

    where: str
    major: int
    state: str = CLEAN_STATES[0]
    foreign_file: str = ""
    links: tuple[str, ...] = ()
    signals: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LegacyVolume:
    """The content of a volume. `served_majors`: majors whose data is already where our server expects it."""

    image_uid: int
    volume_uid: int
    places: tuple[LegacyDirectory, ...] = ()
    served_majors: tuple[int, ...] = ()
    obstacles: tuple[str, ...] = ()
    journal: str = ""


def parse_legacy_volume(output: str) -> LegacyVolume:
    """Parse the output of common/shell/adoption_look.sh."""
    facts: dict[str, list[str]] = {}
    places: list[dict[str, list[str]]] = []
    for line in output.splitlines():
        name, _, value = line.partition(" ")
        if name == "place":
            places.append({})
        (places[-1] if places else facts).setdefault(name, []).append(value)
    return LegacyVolume(
        image_uid=int(facts["image-uid"][0]),
        volume_uid=int(facts["volume-uid"][0]),
        places=tuple(
            LegacyDirectory(
                where=found["place"][0],
                major=int(float(found["major"][0])),
                state=found["state"][0],
                foreign_file=found.get("stranger", [""])[0],
                links=tuple(found.get("link", ())),
                signals=tuple(found.get("signal", ())),
                paths=tuple(found.get("path", ())),
            )
            for found in places
        ),
        served_majors=tuple(int(float(major)) for major in facts.get("served", ())),
        obstacles=tuple(facts.get("in-the-way", ())),
        journal=facts.get("journal", [""])[0],
    )


def find_use_problem(volume: str, users: Sequence[MountingContainer]) -> tuple[str, str]:
    """Return (problem, remedy) if containers use the volume, else ("", "")."""
    if not users:
        return "", ""
    names = ", ".join(f"{user.name} ({'running' if user.running else 'stopped'})" for user in users)
    projects = sorted({user.project for user in users if user.project})
    others = " ".join(user.name for user in users if not user.project)
    commands = [f"docker compose --project-name {project} down --timeout 120" for project in projects]
    if others:
        commands.append(f"docker stop --time 120 {others} && docker rm {others}")
    warning = "   (without -v, which would delete the volume)" if projects else ""
    return (
        f"{volume} is still used by {names}; two servers on one volume lose data",
        f"remove what uses it:  {';  '.join(commands)}{warning}",
    )


def explain_refusal(seen: LegacyVolume, volume: str, image: str, major: int) -> str:
    """Return why a server of `major` may not adopt the volume, and what to do; "" if the server may.

    An interrupted move is not a reason: `adopt` undoes the move first and then asks again.
    """
    if seen.journal:
        return ""
    if len(seen.places) > 1 or (seen.places and seen.served_majors):
        where = [_describe_place(place) for place in seen.places] + [
            f"in {served}/docker" for served in seen.served_majors
        ]
        return (
            f"volume {volume} holds more than one data directory: {', '.join(where)}\n"
            f"  move the ones that aren't wanted out of it:  {_shell_command(volume, image)}"
        )
    if not seen.places:
        if seen.served_majors:
            return ""
        return (
            f"volume {volume} holds no data of PostgreSQL, neither in its root nor in data/ or pgdata/\n"
            "  check the name (pgvector:adoptVolume):  docker volume ls;  without the key the stack makes a new volume"
        )
    place = seen.places[0]
    for finding in (_refuse_other_major, _refuse_other_user, _refuse_incomplete, _refuse_obstacle, _refuse_unusable):
        if reason := finding(seen, place, volume, image, major):
            return reason
    return ""


def _refuse_other_major(_: LegacyVolume, place: LegacyDirectory, volume: str, image: str, major: int) -> str:
    if place.major == major:
        return ""
    known = f"pgvector/pgvector:0.8.6-pg{place.major}-bookworm"
    return (
        f"volume {volume} holds data of PostgreSQL {place.major}, {image} is PostgreSQL {major}\n"
        f"  adopt it with its own version:  pgvector:image: {known}\n"
        "  (the upgrade to another version comes afterwards)"
    )


def _refuse_other_user(seen: LegacyVolume, place: LegacyDirectory, volume: str, image: str, __: int) -> str:
    stranger = place.foreign_file or (f"{seen.volume_uid} ." if seen.volume_uid != seen.image_uid else "")
    if not stranger:
        return ""
    uid, _, path = stranger.partition(" ")
    if int(uid) == ALPINE_UID:
        return (
            f"volume {volume}: {path} belongs to user {uid}, as Alpine's images have it; {image} has {seen.image_uid}\n"
            "  Alpine's C library sorts text in another order, which would break indexes: start the old image again,\n"
            "  dump it (pg_dump), and restore into a stack without pgvector:adoptVolume"
        )
    return (
        f"volume {volume}: {path} belongs to user {uid}, the postgres of {image} is {seen.image_uid}\n"
        f"  give it to that user:  docker run --rm --user root --entrypoint chown -v {volume}:/volume {image} "
        "-R postgres:postgres /volume"
    )


def _refuse_incomplete(_: LegacyVolume, place: LegacyDirectory, volume: str, __: str, ___: int) -> str:
    if place.links:
        return (
            f"volume {volume}: {place.links[0]}: WAL or a tablespace outside of the data directory isn't adopted\n"
            "  start the old container, move it inside (ALTER TABLE … SET TABLESPACE pg_default, DROP TABLESPACE; for\n"
            "  WAL: stop it and put the directory in the link's place), then stop it again"
        )
    if place.signals:
        return (
            f"volume {volume} holds a standby or a restore that isn't finished ({place.signals[0]})\n"
            "  start the old container, promote it (SELECT pg_promote()), and stop it again"
        )
    return ""


def _refuse_obstacle(seen: LegacyVolume, _: LegacyDirectory, volume: str, image: str, __: int) -> str:
    if not seen.obstacles:
        return ""
    return (
        f"volume {volume}: {seen.obstacles[0]} is in the way and is not a data directory\n"
        f"  look at it, and move it out:  {_shell_command(volume, image)}"
    )


def _refuse_unusable(_: LegacyVolume, place: LegacyDirectory, volume: str, image: str, __: int) -> str:
    if place.state not in CLEAN_STATES + RECOVERABLE_STATES:
        return (
            f"volume {volume}: pg_control says {place.state or 'nothing'!r} where {CLEAN_STATES[0]!r} is expected\n"
            "  start the old container once, let it finish, and stop it:  docker compose up -d;  docker compose down"
        )
    if place.paths:
        file, row, text = place.paths[0].split(":", 2)
        return (
            f"volume {volume}: {file} names a path of the old place, line {row}: {text.strip()}\n"
            f"  take the line out:  docker run --rm --user postgres --entrypoint sed -v {volume}:/volume {image} "
            f"-i '{row}s/^/#/' /volume/{'' if place.where == '.' else f'{place.where}/'}{file}"
        )
    return ""


def _describe_place(place: LegacyDirectory) -> str:
    return "in its root" if place.where == "." else f"in {place.where}/"


def _shell_command(volume: str, image: str) -> str:
    return f"docker run --rm -it --user postgres --entrypoint bash -v {volume}:/volume -w /volume {image}"


def describe_adoption(seen: LegacyVolume, volume: str, major: int) -> str:
    """Return what `adopt` would do, as text for a preview; "" if the volume is adopted already."""
    again = "an interrupted move is undone first; " if seen.journal else ""
    if not seen.places:
        return f"adopts volume {volume}: {again}moves PostgreSQL {major}'s data into {major}/docker" if again else ""
    place = seen.places[0]
    recovers = "" if place.state in CLEAN_STATES else f"; it wasn't shut down: PostgreSQL {major} recovers it first"
    return (
        f"adopts volume {volume}: {again}moves PostgreSQL {major}'s data, now {_describe_place(place)}, "
        f"into {major}/docker{recovers}"
    )


def list_mounting_containers(client: docker.DockerClient, volume: str) -> tuple[MountingContainer, ...]:
    """Return the containers that mount the volume. Raises DockerFailed."""
    return tuple(to_mounting_container(container) for container in list_volume_users(client, volume))


def to_mounting_container(container: Container) -> MountingContainer:
    return MountingContainer(container.name, container.status == "running", container.labels.get(COMPOSE_PROJECT, ""))


def inspect_legacy_volume(client: docker.DockerClient, name: str, image: str, volume: str) -> LegacyVolume:
    """Read what the volume holds, in a throw-away container. Raises DockerFailed, ServerError."""
    with open_throw_away(
        client, name, image, ["sh", "-ec", shell.get("adoption_look")], user="root",
        environment={"VOLUME": MOUNT}, mounts=[Mount(MOUNT, volume, type="volume", read_only=True)],
    ) as container:  # fmt: skip
        done = run_to_end(container)
    if done.code != 0:
        raise ServerError(f"volume {volume} can't be looked into\n    {done.output.strip()[-300:]}")
    return parse_legacy_volume(done.output)


def adopt(
    client: docker.DockerClient, spec: ContainerSpec, image: str, volume: str, *,
    image_name: str, database: str, report: Callable[[str], None],
) -> None:  # fmt: skip
    """Move the data to where `spec`'s server expects it; do nothing if it is there already. Raises ServerError.

    After a failure the data is at its old place. Only a killed step leaves a half-done move; the next call undoes it.
    """
    seen = inspect_legacy_volume(client, spec.name, image, volume)
    if not seen.places and not seen.journal and seen.served_majors:
        return
    wrong, remedy = find_use_problem(volume, list_mounting_containers(client, volume))
    if wrong:
        raise ServerError(f"volume {wrong}\n  {remedy}")
    if seen.journal:
        _run_script(client, spec, image, volume, "move_back", MAJOR=seen.journal)
        report(f"volume {volume}: undid a move that was interrupted")
        seen = inspect_legacy_volume(client, spec.name, image, volume)
    if reason := explain_refusal(seen, volume, image_name, spec.major):
        raise ServerError(reason)
    if seen.places:
        place = seen.places[0].where
        _run_script(client, spec, image, volume, "adopt", MAJOR=str(spec.major), PLACE=place, DATABASE=database)
        report(f"volume {volume}: PostgreSQL {spec.major}'s data lies in {spec.major}/docker now")


def _run_script(
    client: docker.DockerClient, spec: ContainerSpec, image: str, volume: str, script: str, **environment: str
) -> None:
    text = shell.get("journal") + shell.get(script)
    with open_throw_away(
        client, spec.name, image, ["sh", "-ec", text, script, *spec.arguments], user=USER, **spec.memory,
        environment={"VOLUME": MOUNT, **environment}, mounts=[Mount(MOUNT, volume, type="volume")],
    ) as container:  # fmt: skip
        done = run_to_end(container, timeout_s=TIMEOUT_S)
    if done.code != 0:
        raise ServerError(explain_failure(done, spec, volume, environment.get("DATABASE", "")))


def explain_failure(done: ContainerResult, spec: ContainerSpec, volume: str, database: str) -> str:
    """Explain why a script of the adoption failed, where the data is now, and what to do."""
    said = [line.removeprefix("pgstack: ") for line in done.output.splitlines() if line.startswith("pgstack: ")]
    last = said[-1] if said else ""
    if last.startswith("no database "):
        among = last.partition(" among ")[2]
        if f"no database {database} " in last:
            return (
                f"volume {volume} has no database {database}; it has: {among}\n"
                "  name the one to go on with (pgvector:database); nothing was changed"
            )
        return (
            f"volume {volume} has no database postgres, which the administrator connects to; it has: {among}\n"
            "  start the old container, CREATE DATABASE postgres, and stop it again; nothing was changed"
        )
    if last.startswith("database "):
        return (
            f"volume {volume}: {last}\n"
            "  choose an image with the same or a newer version of it (pgvector:image); nothing was changed"
        )
    reason = explain_failed_step("adopting its data", spec, volume, done)
    if last.startswith("the server doesn't start"):
        return f"volume {volume}: {reason}\n  nothing was changed: the old container starts on it as before"
    return f"volume {volume}: {reason}"

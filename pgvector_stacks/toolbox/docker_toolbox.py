"""The toolbox of the Docker engine: a throw-away container of the target image, with the volume and, for an upgrade,
the old major's programs, copied from the old image.

An upgrade needs no third image. The Docker API copies `/usr/lib/postgresql/<old>`, `/usr/share/postgresql/<old>` and
the shared libraries that the new image lacks into anonymous volumes. ldd lists the libraries, and LD_LIBRARY_PATH names
their folder.

The container runs until this process closes the container's standard input. So after a kill of this process nothing
keeps running, and the locks on the data directories are released.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.types import Mount

from pgvector_stacks.common.errors import ServerError
from pgvector_stacks.common.image_names import VOLUME
from pgvector_stacks.docker import container_command
from pgvector_stacks.docker.container_spec import LOCK_HELD_CODE, OLD_MOUNT
from pgvector_stacks.docker.docker_host import TMP, anonymous_mount, docker_errors, open_throw_away
from pgvector_stacks.toolbox.interface import HOUR_S, ProgramResult, require_success
from pgvector_stacks.toolbox.tar_stream import pack, unpack

USER = "postgres"
PRIVATE = f"{TMP}/pgstack-toolbox"
CARRIED = "/opt/pgstack-carried"
BROUGHT = f"{TMP}/pgstack-brought"
HANDED = f"{TMP}/pgstack-handed"
# a drill's server takes a quarter of the memory; the rest is page cache
LIMITS = {"shm_size": "256m", "mem_limit": "1g", "memswap_limit": "1g"}
LIBRARIES_DEEP = 6
NO_STRAY = {OLD_MOUNT: ""}  # images up to 17 would add an anonymous volume at this path


class DockerToolbox:
    """The `Toolbox` in a throw-away container."""

    sockets = PRIVATE
    lifetime_fifo = ""  # the container ends with this process

    def __init__(self, container: Container) -> None:
        self.container = container

    def bin_directory(self, major: int) -> str:
        return f"/usr/lib/postgresql/{major}/bin"

    def directory(self, major: int) -> str:
        return f"{VOLUME}/{major}/docker"

    def sibling_path(self, major: int, name: str) -> str:
        return f"{VOLUME}/{major}/{name}"

    def run(
        self, major: int, *command: str, environment: Mapping[str, str] | None = None,
        timeout_s: float = 12 * HOUR_S,
    ) -> ProgramResult:  # fmt: skip
        path = f"{self.bin_directory(major)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return self._carry_out(list(command), {"PATH": path} | dict(environment or {}), USER)

    def sh(self, script: str, *, timeout_s: float = HOUR_S, **variables: str) -> ProgramResult:
        return self._carry_out(["sh", "-ec", script], variables, USER)

    def as_root(self, script: str, **variables: str) -> ProgramResult:
        """Run a script as root, for files that root owns: the old programs, pg_hba.conf in the volume.

        Root has no capabilities in the container.
        """
        return self._carry_out(["sh", "-ec", script], variables, "root")

    @contextmanager
    def lock(self, path: str, held_message: str) -> Iterator[None]:
        # The lock belongs to the open file. After the shell's end only `sleep` has the file open.
        script = f"""
            if [ ! -d "$L" ]; then mkdir -p "$(dirname "$L")"; : >>"$L"; fi
            exec 9<"$L"
            flock -n -E {LOCK_HELD_CODE} 9
            nohup sleep 2147483 >/dev/null 2>&1 &
            echo $!
        """
        done = self.sh(script, L=path)
        if done.code == LOCK_HELD_CODE:
            raise ServerError(held_message)
        holder = require_success(f"taking the lock of {path}", done).strip()
        if not holder.isdecimal():
            raise ServerError(
                f"taking the lock of {path}: the shell did not name the process that holds it\n{done.tail()}"
            )
        try:
            yield
        finally:
            self.sh('kill "$P" || true', P=holder)

    def put(self, name: str, text: str) -> str:
        path = f"{PRIVATE}/{name}"
        done = container_command.run(
            self.container, ["sh", "-ec", 'umask 077; rm -f "$TARGET"; cat >"$TARGET"'], user=USER,
            environment={"TARGET": path}, stdin=text.encode(),
        )  # fmt: skip
        if done.code != 0:
            raise ServerError(
                f"writing {path} in the throw-away container failed\n{ProgramResult(done.code, done.text).tail()}"
            )
        return path

    def move_out(self, folder: str, into: Path) -> None:
        with docker_errors():
            stream, _ = self.container.get_archive(folder)
            unpack(stream, into)
        said = require_success(
            "adding up what was brought", self.sh('cd "$FOLDER"; find . -type f -exec sha256sum {} +', FOLDER=folder)
        )
        digests = {
            name.removeprefix("./"): digest for digest, _, name in (x.partition("  ") for x in said.splitlines())
        }
        brought = {str(each.relative_to(into)) for each in into.rglob("*") if each.is_file()}
        if not digests or set(digests) != brought:
            raise ServerError(
                f"{folder}: {len(brought)} files came from the throw-away container, it has {len(digests)}: try again"
            )
        for name, digest in digests.items():
            with (into / name).open("rb") as file:
                if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                    raise ServerError(f"{name} was damaged on its way from the throw-away container: try again")

    def provide(self, folder: Path) -> str:
        place = f"{HANDED}/{folder.name}"
        said = require_success("making a folder", self.sh(f"mkdir -p -m 700 {HANDED}; id -u; id -g"))
        uid, gid = map(int, said.split())
        with docker_errors():
            self.container.put_archive(HANDED, pack(folder, (uid, gid)))
        return place

    def _carry_out(self, words: list[str], environment: Mapping[str, str], user: str) -> ProgramResult:
        done = container_command.run(
            self.container, words, user=user, environment={"LC_ALL": "C"} | dict(environment), workdir="/"
        )
        return ProgramResult(done.code, done.text)


@contextmanager
def open_toolbox(
    client: docker.DockerClient, name: str, image: str, volume: str | None, *, network: str | None = None,
    limits: Mapping[str, Any] | None = None, then: str = "", carries: int = 0,
) -> Iterator[DockerToolbox]:  # fmt: skip
    """Start a toolbox's container, and remove it at the end of the block.

    `volume`: None for data directories that are removed with the container. `network`: the network in which the source
    server's container name resolves; None: no network. `then`: a shell script that the container runs after this
    process was killed. `carries`: the major whose programs `carry_programs` will copy.
    """
    places = [*_package_folders(carries), CARRIED] if carries else []
    with open_throw_away(
        client, name, image, ["sh", "-c", f"cat >/dev/null; {then}"], user=USER, working_dir="/", stdin_open=True,
        network=network, tmpfs=NO_STRAY, init=True, has_end_mark=False,
        mounts=[
            Mount(VOLUME, volume, type="volume") if volume else anonymous_mount(VOLUME, name),
            *(anonymous_mount(place, name) for place in places),
        ],
        # the folder hides none of the image's libraries: it holds only libraries that the image lacks
        environment={"LD_LIBRARY_PATH": CARRIED} if carries else {},
        auto_remove=bool(then),  # after a kill no process of ours removes the container
        **(limits or LIMITS),
    ) as container:  # fmt: skip
        with docker_errors():
            leash = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
        made = DockerToolbox(container)
        try:
            require_success("making a folder", made.sh(f"mkdir -m 700 {PRIVATE}"))
            yield made
        finally:
            container_command.close_connection(leash._response)


def _package_folders(major: int) -> tuple[str, str]:
    """Return the folders of a major's programs and of their shared files in Debian's packages."""
    return f"/usr/lib/postgresql/{major}", f"/usr/share/postgresql/{major}"


def carry_programs(client: docker.DockerClient, made: DockerToolbox, name: str, image: str, major: int) -> None:
    """Copy the programs of `major` from its own image into the toolbox. Raises ServerError, DockerFailed."""
    library, _ = _package_folders(major)
    with open_throw_away(
        client, name, image, ["sleep", "infinity"], user=USER, init=True, tmpfs=NO_STRAY,
        has_end_mark=False,
    ) as source, docker_errors():  # fmt: skip
        source.start()
        for folder in _package_folders(major):
            stream, _ = source.get_archive(folder)
            require_success("making a folder", made.as_root(f"mkdir -m 700 {BROUGHT}"))
            made.container.put_archive(BROUGHT, stream)
            moves = f'cp -a {BROUGHT}/{major}/. "$FOLDER"; rm -r {BROUGHT}'
            require_success(f"putting {folder} of the old image in its place", made.as_root(moves, FOLDER=folder))
            if _list_files(source, folder) != _list_files(made.container, folder):
                raise ServerError(f"{folder} of {image} was not copied completely: try again")
        found = _find_libraries(source, library)
        for _ in range(LIBRARIES_DEEP):  # ldd does not list what a missing library itself needs
            lacking = [name for name, path in _find_libraries(made.container, library).items() if not path]
            wanted = [found[name] for name in lacking if found.get(name)]
            if not wanted:
                break
            archive = read_output(source, ["tar", "-chf", "-", "--transform", "s|.*/||", *wanted])
            made.container.put_archive(CARRIED, archive)


def _list_files(container: Container, folder: str) -> bytes:
    """List the folder's files with their sizes, and the targets of its links. Raises ServerError, also if it is empty.

    The listing proves a complete copy: a tar stream that breaks off between two files looks complete.
    """
    script = r"""find "$1" \( -type f -printf '%P %s\n' \) -o \( -type l -printf '%P -> %l\n' \) | LC_ALL=C sort"""
    found = read_output(container, ["sh", "-ec", script, "sh", folder])
    if not found.strip():
        raise ServerError(f"{folder} in the container {container.name} is empty")
    return found


def _find_libraries(container: Container, folder: str) -> dict[str, str]:
    """Return the paths of the needed shared libraries by name; "" for a missing one.

    The libraries of the JIT are left out, because the JIT is always off. Raises ServerError if ldd lists no library,
    since every program needs some.
    """
    script = f"ldd {folder}/bin/* $(ls {folder}/lib/*.so | grep -v llvmjit) 2>/dev/null || true"
    found = {}
    for line in read_output(container, ["sh", "-c", script]).decode(errors="replace").splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow:
            found[name] = "" if rest.startswith("not found") else rest.split(" ")[0]
    if not found:
        raise ServerError(f"ldd names no library of {folder} in the container {container.name}")
    return found


def read_output(container: Container, command: Sequence[str], user: str = "root") -> bytes:
    """Run a command in the container, and return its standard output. Raises ServerError, DockerFailed."""
    done = container_command.run(container, command, user=user)
    if done.code != 0:
        said = done.stderr.decode(errors="replace")
        raise ServerError(f"{command[0]} in the container {container.name} failed: {said}")
    return done.stdout

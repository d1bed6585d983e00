"""The workshop of the Docker engine: a throw-away container of the target image with the volume and, carried over from
the old image, the programs of the old major.

No third image: `/usr/lib/postgresql/<old>`, `/usr/share/postgresql/<old>` and the shared libraries that the new image
lacks are copied through the Docker API into anonymous volumes (found with ldd, told to the loader by its variable).

The container lives as long as this process holds its standard input: a killed provider leaves nothing at work, and
the locks on the data directories go with it.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import docker
from docker.models.containers import Container
from docker.types import Mount

from postgres import docker_exec
from postgres.connection import Address, connect
from postgres.container import HBA, LOCK, LOCK_TAKEN, OLD_MOUNT, Spec
from postgres.docker_host import TMP, anonymous, finish, throw_away, told
from postgres.embedded import ADMIN
from postgres.errors import ServerError
from postgres.images import VOLUME
from postgres.upgrade.archive import pack, unpack
from postgres.upgrade.facts import Disk, Target
from postgres.upgrade.workshop import HOUR_S, Done, must

USER = "postgres"
PRIVATE = f"{TMP}/pgstack-workshop"
CARRIED = "/opt/pgstack-carried"
BROUGHT = f"{TMP}/pgstack-brought"
HANDED = f"{TMP}/pgstack-handed"
# a drill's server takes a quarter of the memory; the rest is page cache
LIMITS = {"shm_size": "256m", "mem_limit": "1g", "memswap_limit": "1g"}
LIBRARIES_DEEP = 6
NO_STRAY = {OLD_MOUNT: ""}  # images up to 17 would add an anonymous volume there


class ContainerWorkshop:
    """See `workshop.Workshop`."""

    sockets = PRIVATE
    leash = ""  # the container ends with this process

    def __init__(self, container: Container) -> None:
        self.container = container

    def programs(self, major: int) -> str:
        return f"/usr/lib/postgresql/{major}/bin"

    def directory(self, major: int) -> str:
        return f"{VOLUME}/{major}/docker"

    def beside(self, major: int, name: str) -> str:
        return f"{VOLUME}/{major}/{name}"

    def run(
        self, major: int, *command: str, environment: Mapping[str, str] | None = None,
        timeout_s: float = 12 * HOUR_S,
    ) -> Done:  # fmt: skip
        path = f"{self.programs(major)}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        return self._carry_out(list(command), {"PATH": path} | dict(environment or {}), USER)

    def sh(self, script: str, *, timeout_s: float = HOUR_S, **variables: str) -> Done:
        return self._carry_out(["sh", "-ec", script], variables, USER)

    def as_root(self, script: str, **variables: str) -> Done:
        """For what is root's own: the places of the old programs, pg_hba.conf in the volume. It has no capability."""
        return self._carry_out(["sh", "-ec", script], variables, "root")

    @contextmanager
    def lock(self, path: str, taken: str) -> Iterator[None]:
        # it belongs to the open file, which only the sleep has in the end
        script = f"""
            if [ ! -d "$L" ]; then mkdir -p "$(dirname "$L")"; : >>"$L"; fi
            exec 9<"$L"
            flock -n -E {LOCK_TAKEN} 9
            nohup sleep 2147483 >/dev/null 2>&1 &
            echo $!
        """
        done = self.sh(script, L=path)
        if done.code == LOCK_TAKEN:
            raise ServerError(taken)
        holder = must(f"taking the lock of {path}", done).strip()
        if not holder.isdecimal():
            raise ServerError(f"taking the lock of {path}: the shell told no process that holds it\n{done.tail()}")
        try:
            yield
        finally:
            self.sh('kill "$P" || true', P=holder)

    def put(self, name: str, text: str) -> str:
        path = f"{PRIVATE}/{name}"
        done = docker_exec.run(
            self.container, ["sh", "-ec", 'umask 077; rm -f "$TARGET"; cat >"$TARGET"'], user=USER,
            environment={"TARGET": path}, stdin=text.encode(),
        )  # fmt: skip
        if done.code != 0:
            raise ServerError(f"writing {path} in the throw-away container failed\n{Done(done.code, done.text).tail()}")
        return path

    def bring(self, folder: str, into: Path) -> None:
        with told():
            stream, _ = self.container.get_archive(folder)
            unpack(stream, into)
        said = must(
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

    def hand(self, folder: Path) -> str:
        place = f"{HANDED}/{folder.name}"
        said = must("making a folder", self.sh(f"mkdir -p -m 700 {HANDED}; id -u; id -g"))
        uid, gid = map(int, said.split())
        with told():
            self.container.put_archive(HANDED, pack(folder, (uid, gid)))
        return place

    def _carry_out(self, words: list[str], environment: Mapping[str, str], user: str) -> Done:
        done = docker_exec.run(
            self.container, words, user=user, environment={"LC_ALL": "C"} | dict(environment), workdir="/"
        )
        return Done(done.code, done.text)


@contextmanager
def workshop(
    client: docker.DockerClient, name: str, image: str, volume: str | None, *, network: str | None = None,
    limits: Mapping[str, Any] | None = None, then: str = "", carries: int = 0,
) -> Iterator[ContainerWorkshop]:  # fmt: skip
    """A running one, gone afterwards. `network`: where the source server is reached by its container's name; left out,
    it has none; `then`: a shell script that it runs when this process was killed; `carries`: the major whose programs
    `carry_programs` is going to bring.

    Without a volume its data directories are gone with it.
    """
    places = [*_own_places(carries), CARRIED] if carries else []
    with throw_away(
        client, name, image, ["sh", "-c", f"cat >/dev/null; {then}"], user=USER, working_dir="/", stdin_open=True,
        network=network, tmpfs=NO_STRAY, init=True, told_end=False,
        mounts=[
            Mount(VOLUME, volume, type="volume") if volume else anonymous(VOLUME, name),
            *(anonymous(place, name) for place in places),
        ],
        # no name in it is one that the image has: only what is lacking is carried there
        environment={"LD_LIBRARY_PATH": CARRIED} if carries else {},
        auto_remove=bool(then),  # nobody else removes it then
        **(limits or LIMITS),
    ) as container:  # fmt: skip
        with told():
            leash = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
        made = ContainerWorkshop(container)
        try:
            must("making a folder", made.sh(f"mkdir -m 700 {PRIVATE}"))
            yield made
        finally:
            docker_exec.close(leash._response)


def _own_places(major: int) -> tuple[str, str]:
    """Where Debian's packages have a major's programs and what they read."""
    return f"/usr/lib/postgresql/{major}", f"/usr/share/postgresql/{major}"


def carry_programs(client: docker.DockerClient, made: ContainerWorkshop, name: str, image: str, major: int) -> None:
    """The programs of `major` from its own image into the workshop. Raises ServerError, DockerFailed."""
    library, _ = _own_places(major)
    with throw_away(
        client, name, image, ["sleep", "infinity"], user="root", init=True, tmpfs=NO_STRAY,
        told_end=False,
    ) as source, told():  # fmt: skip
        source.start()
        for folder in _own_places(major):
            stream, _ = source.get_archive(folder)
            must("making a folder", made.as_root(f"mkdir -m 700 {BROUGHT}"))
            made.container.put_archive(BROUGHT, stream)
            moves = f'cp -a {BROUGHT}/{major}/. "$FOLDER"; rm -r {BROUGHT}'
            must(f"putting {folder} of the old image in its place", made.as_root(moves, FOLDER=folder))
            if _listing(source, folder) != _listing(made.container, folder):
                raise ServerError(f"{folder} of {image} did not come over whole: try again")
        found = _libraries(source, library)
        for _ in range(LIBRARIES_DEEP):  # ldd doesn't see through what is lacking
            lacking = [name for name, path in _libraries(made.container, library).items() if not path]
            wanted = [found[name] for name in lacking if found.get(name)]
            if not wanted:
                break
            archive = output_of(source, ["tar", "-chf", "-", "--transform", "s|.*/||", *wanted])
            made.container.put_archive(CARRIED, archive)


def _listing(container: Container, folder: str) -> bytes:
    """Its files with their sizes, and where its links lead. A tar that breaks off between two files looks whole.

    Raises ServerError, also where there are none.
    """
    script = r"""find "$1" \( -type f -printf '%P %s\n' \) -o \( -type l -printf '%P -> %l\n' \) | LC_ALL=C sort"""
    found = output_of(container, ["sh", "-ec", script, "sh", folder])
    if not found.strip():
        raise ServerError(f"{folder} in the container {container.name} is empty")
    return found


def _libraries(container: Container, folder: str) -> dict[str, str]:
    """Shared libraries by name, with their path; "" where it is lacking. The JIT's are left out: it is never on.

    Raises ServerError where there are none: every program needs some.
    """
    script = f"ldd {folder}/bin/* $(ls {folder}/lib/*.so | grep -v llvmjit) 2>/dev/null || true"
    found = {}
    for line in output_of(container, ["sh", "-c", script]).decode(errors="replace").splitlines():
        name, arrow, rest = line.strip().partition(" => ")
        if arrow:
            found[name] = "" if rest.startswith("not found") else rest.split(" ")[0]
    if not found:
        raise ServerError(f"ldd names no library of {folder} in the container {container.name}")
    return found


def output_of(container: Container, command: Sequence[str], user: str = "root") -> bytes:
    """What a command in the container writes to its standard output. Raises ServerError, DockerFailed."""
    done = docker_exec.run(container, command, user=user)
    if done.code != 0:
        said = done.err.decode(errors="replace")
        raise ServerError(f"{command[0]} in the container {container.name} failed: {said}")
    return done.out


class ContainerHands:
    """See `run.Hands`: the server's own container, and the locks that every server of this product takes."""

    def __init__(
        self, made: ContainerWorkshop, server: Container, spec: Spec, new: int, address: Address, grace_s: int
    ) -> None:
        self.made, self.server, self.spec, self.new, self.address, self.grace_s = (
            made, server, spec, new, address, grace_s,
        )  # fmt: skip

    def running(self) -> bool:
        with told():
            self.server.reload()
            return bool(self.server.status == "running")

    def stop(self) -> None:
        with told():
            self.server.stop(timeout=self.grace_s)

    def start(self) -> None:
        with told():
            self.server.start()
        connect(self.address, wait_s=HOUR_S).close()

    def replication(self, *, allowed: bool) -> None:
        """One more line in the server's pg_hba.conf, in the volume; only as long as the standby needs it."""
        text = self.spec.files[HBA]
        if allowed:
            how = "hostssl" if self.spec.certificate else "host"
            text += f"{how} replication {ADMIN} samenet scram-sha-256\n"
        script = 'printf %s "$TEXT" >"$FILE.new"; chmod 640 "$FILE.new"; mv -T "$FILE.new" "$FILE"'
        own = self.made.sh('test -w "$FOLDER"', FOLDER=self.spec.folder).code == 0
        write = self.made.sh if own else self.made.as_root  # the folder's group is the server's user's
        must("writing pg_hba.conf", write(script, TEXT=text, FILE=f"{self.spec.folder}/{HBA}"))
        if self.running():
            with connect(self.address, wait_s=HOUR_S) as connection:
                connection.execute("SELECT pg_reload_conf()")

    @contextmanager
    def alone(self) -> Iterator[None]:
        with ExitStack() as locks:
            for major in (self.spec.major, self.new):
                taken = f"another server runs on {VOLUME}/{major}: its lock is taken"
                locks.enter_context(self.made.lock(f"{VOLUME}/{major}/{LOCK}", taken))
            yield


def disk(server: Container) -> Disk:
    """Of the volume, as the running server sees it: its free space, and whether a copy that shares its blocks works
    there. Raises ServerError.
    """
    script = f"""
        if trial=$(mktemp -d {VOLUME}/.reflink-XXXXXX) && echo 1 >"$trial/one" &&
            cp --reflink=always "$trial/one" "$trial/other"; then echo yes; else echo no; fi
        rm -rf "$trial"
        df -B1 --output=avail {VOLUME} | tail -n 1
    """
    said = output_of(server, ["sh", "-ec", script], USER)
    found = re.fullmatch(rb"(yes|no)\s+(\d+)\s*", said)
    if found is None:
        raise ServerError(f"the free space of {VOLUME} can't be read: {said.decode(errors='replace').strip()[-300:]}")
    return Disk(int(found[2]), found[1] == b"yes")


def target_of_image(client: docker.DockerClient, name: str, image: str, major: int) -> Target:
    """Version and extensions of an image that is there, without starting a server. Raises ServerError."""
    command = ["sh", "-c", _asks_for_target(major)]
    with throw_away(client, name, image, command, user=USER, tmpfs=NO_STRAY) as made:
        done = finish(made, timeout_s=60, lines=2000)
    return _target(Done(done.code, done.output), image, major)


def target_in(made: ContainerWorkshop, major: int) -> Target:
    """The same of the workshop's own image. Raises ServerError."""
    return _target(made.sh(_asks_for_target(major)), made.container.attrs["Config"]["Image"], major)


def _asks_for_target(major: int) -> str:
    return (
        f"/usr/lib/postgresql/{major}/bin/postgres --version;"
        f" grep -H '^default_version' /usr/share/postgresql/{major}/extension/*.control;"
        " getconf GNU_LIBC_VERSION || true"
    )


def _target(done: Done, image: str, major: int) -> Target:
    if done.code != 0:
        raise ServerError(
            f"the image {image} has no PostgreSQL {major} where Debian's packages have it\n{done.tail(3)}"
        )
    version = re.search(r"PostgreSQL\) \d+\.(\d+)", done.output)
    found = re.findall(r"([^/\s]+)\.control:\s*default_version\s*=\s*'([^']*)'", done.output)
    libc = re.search(r"^glibc (\S+)", done.output, re.MULTILINE)
    return Target(major, int(version[1]) if version else None, dict(found), libc[1] if libc else None)

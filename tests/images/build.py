"""Stand-ins for the published images of PostgreSQL with pgvector, made of Debian's packages where no registry answers.

`ensure(name)` gives an image of that name: the published one where it is here, else a stand-in, built once and again
whenever one of its inputs changes (a label holds their hash). A stand-in keeps what a container of the published image
shows: paths, user 999, environment, entrypoint, signal, volume. Its PostgreSQL and pgvector are what Debian has, so the
pgvector may be another than the tag says.

An image of that name that lacks the label is somebody's: it is used and never replaced.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
LABEL: Final = "stand-in.inputs"
KEYRING: Final = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
LOCK: Final = Path(tempfile.gettempdir()) / "pgvector-stand-in-images.lock"
MIRROR_VARIABLE: Final = "PGSTACK_DEBIAN_MIRROR"
COMPILER: Final = ("gcc", "libc6-dev", "make")  # while pgvector is compiled; compile_pgvector.sh purges them
# in every image; what the published one has beside the server
COMMON: Final = ("ca-certificates", "gosu", "less", "libnss-wrapper", "locales", "xz-utils", "zstd")
OMITTED: Final = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/info/*", "/usr/share/locale/*")


class CannotBuild(Exception):
    """This machine lacks what a stand-in is built with; the text says what, and the remedy."""


@dataclass(frozen=True, slots=True)
class StandIn:
    """One image: the name it stands in for, the Debian release it is made of, its server and where pgvector is from."""

    name: str
    suite: str
    major: int
    packages: tuple[str, ...]
    pgvector_source: str = ""
    """the suite whose source package of pgvector is compiled, where `suite` has none for this major"""

    @property
    def data(self) -> str:
        """PGDATA, which is also where the volume goes up to 17."""
        return "/var/lib/postgresql/data" if self.major < 18 else f"/var/lib/postgresql/{self.major}/docker"

    @property
    def volume(self) -> str:
        return self.data if self.major < 18 else "/var/lib/postgresql"


STAND_INS: Final[dict[str, StandIn]] = {
    each.name: each
    for each in (
        # trixie's is the oldest pgvector with HNSW that Debian has: 15 and 17 get the same one, and ALTER EXTENSION
        # UPDATE has something to do on the way to 18 only
        StandIn("ankane/pgvector:latest", "bookworm", 15, ("postgresql-15",), pgvector_source="trixie"),
        StandIn("pgvector/pgvector:0.8.6-pg17-trixie", "trixie", 17, ("postgresql-17", "postgresql-17-pgvector")),
        StandIn(
            "pgvector/pgvector:0.8.6-pg18-trixie",
            "forky",
            18,
            ("postgresql-18", "postgresql-18-jit", "postgresql-18-pgvector"),
        ),
    )
}


def settings(stand_in: StandIn) -> tuple[str, ...]:
    """The image's configuration in a Dockerfile's words, without what is only known after the build."""
    path = f"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/{stand_in.major}/bin"
    return (
        f"ENV PATH={path}",
        "ENV LANG=en_US.utf8",
        f"ENV PG_MAJOR={stand_in.major}",
        f"ENV PGDATA={stand_in.data}",
        f"VOLUME {stand_in.volume}",
        'ENTRYPOINT ["docker-entrypoint.sh"]',
        "STOPSIGNAL SIGINT",
        "EXPOSE 5432",
        'CMD ["postgres"]',
    )


def inputs_hash(stand_in: StandIn) -> str:
    """Of all that decides what the image holds, but for the versions Debian has that day."""
    told = json.dumps([asdict(stand_in), COMMON, OMITTED, settings(stand_in)])
    scripts = [path.read_text(encoding="utf-8") for path in sorted(HERE.glob("*.sh"))]
    return hashlib.sha256("\0".join([told, *scripts]).encode()).hexdigest()[:16]


def docker(*arguments: str) -> str:
    """The output of a docker command, or CalledProcessError with what it said."""
    return _run(("docker", *arguments)).strip()


def why_no_engine() -> str | None:
    """Why no container can run here, or None where a Docker Engine answers."""
    if shutil.which("docker") is None:
        return "no docker command: install Docker Engine (on Debian: apt install docker.io)"
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except subprocess.CalledProcessError as error:
        said = str(error.stderr).strip().splitlines()
        return f"no Docker Engine answers: {said[-1] if said else 'docker version failed'}"
    return None


def ensure(name: str) -> str:
    """The reference of an image of that name, which is `name`. Builds the stand-in if need be (about a minute).

    Raises CannotBuild where this machine can't, CalledProcessError where a command failed.
    """
    stand_in = STAND_INS[name]
    wanted = inputs_hash(stand_in)
    if _present(name, wanted):
        return name
    _require_tools(name)
    with _building_alone():
        if _present(name, wanted):  # another worker built it meanwhile
            return name
        before = docker("image", "ls", "--no-trunc", "--quiet", name)
        same = docker("image", "ls", "--no-trunc", "--quiet", "--filter", f"label={LABEL}={wanted}").split()
        if same:
            docker("image", "tag", same[0], name)
        else:
            _build(stand_in, wanted)
        if before:
            subprocess.run(("docker", "image", "rm", before), capture_output=True, check=False)  # unless it is in use
    return name


def _present(name: str, wanted: str) -> bool:
    """Whether `name` can be used as it is: built from these inputs, or not ours."""
    try:
        found = docker("image", "inspect", "--format", "{{json .Config.Labels}}", name)
    except subprocess.CalledProcessError as error:
        if "No such image" in str(error.stderr):
            return False
        raise
    label = (json.loads(found) or {}).get(LABEL)
    return label is None or label == wanted


def _require_tools(name: str) -> None:
    if shutil.which("mmdebstrap") is None:
        raise CannotBuild(f"{name} is built with mmdebstrap, which is not here: apt install mmdebstrap")
    if os.geteuid() != 0:
        raise CannotBuild(f"{name} is built as root: sudo .venv/bin/python -m tests.images")
    if not KEYRING.exists():
        raise CannotBuild(f"{KEYRING}, which Debian's archive is verified with, is missing: apt install {KEYRING.stem}")


def _build(stand_in: StandIn, inputs: str) -> None:
    mirror = debian_mirror()
    sources = [f"deb {mirror} {stand_in.suite} main"]
    packages = [*COMMON, *stand_in.packages]
    hooks = [f"--customize-hook={HERE / 'prepare.sh'}"]
    if stand_in.pgvector_source:
        sources.append(f"deb-src {mirror} {stand_in.pgvector_source} main")
        packages += COMPILER
        hooks.insert(0, f"--customize-hook={HERE / 'compile_pgvector.sh'}")
    with tempfile.TemporaryDirectory(prefix="pgstack-test-image-") as folder:
        root, version = Path(folder, "root.tar"), Path(folder, "version")
        environment = {"MAJOR": str(stand_in.major), "DATA": stand_in.data, "VERSION_FILE": str(version)}
        _run(
            (
                "mmdebstrap",
                "--quiet",
                "--mode=root",
                "--variant=minbase",
                f"--keyring={KEYRING}",
                f"--include={','.join(packages)}",
                "--dpkgopt=force-confold",
                *(f"--dpkgopt=path-exclude={pattern}" for pattern in OMITTED),
                *(f"--aptopt={option}" for option in _network_options()),
                f"--essential-hook={HERE / 'prepare.sh'}",
                *hooks,
                "--skip=cleanup/run",
                stand_in.suite,
                str(root),
                *sources,
            ),
            # of the host's settings only what says how to reach the network
            {key: value for key, value in os.environ.items() if key.lower().endswith("_proxy") or key == "PATH"}
            | environment,
        )
        lines = (
            "FROM scratch",
            f"ADD {root.name} /",
            *settings(stand_in),
            f"ENV PG_VERSION={version.read_text(encoding='utf-8').strip()}",
            f"LABEL {LABEL}={inputs}",
        )
        version.unlink()
        Path(folder, "Dockerfile").write_text("\n".join(lines) + "\n", encoding="utf-8")
        docker("build", "--tag", stand_in.name, folder)


def debian_mirror() -> str:
    """Where this machine's apt gets Debian from; PGSTACK_DEBIAN_MIRROR where it is another distribution's."""
    told = os.environ.get(MIRROR_VARIABLE)
    if told:
        return told
    if shutil.which("apt-get") is None:
        raise CannotBuild(f"no apt here, whose mirror the stand-ins are made from: set {MIRROR_VARIABLE} to a URL")
    rows = _run(("apt-get", "indextargets", "--format", "$(ORIGIN) $(LABEL) $(REPO_URI)", "Created-By: Packages"))
    for row in rows.splitlines():
        if row.startswith("Debian Debian "):  # the security archive's label is Debian-Security
            return row.split()[2]
    raise CannotBuild(f"apt knows no Debian mirror: run apt-get update, or set {MIRROR_VARIABLE} to the URL of one")


def _network_options() -> list[str]:
    """How this machine's apt reaches its mirror: proxies, certificates, retries, clocks that are off."""
    wanted = ("Acquire::http", "Acquire::https", "Acquire::Check-", "Acquire::Retries")
    return [line for line in _run(("apt-config", "dump")).splitlines() if line.startswith(wanted) and '""' not in line]


def _run(command: Sequence[str], environment: dict[str, str] | None = None) -> str:
    """Standard output; a failure raises CalledProcessError with the end of what was said as a note."""
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        error.add_note(str(error.stderr)[-3000:])
        raise
    return done.stdout


@contextmanager
def _building_alone() -> Iterator[None]:
    """One build at a time on this machine; ends with the process, however that ends."""
    with LOCK.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield

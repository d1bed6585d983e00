"""`pgstack` and `python -m pgstack`: the command line, imported where Ctrl-C is expected."""

import sys


def main() -> None:
    """Run a command. Ctrl-C while the program is still being read is no traceback either."""
    try:
        from pgstack import cli
    except KeyboardInterrupt:
        sys.exit("stopped")
    cli.main()


if __name__ == "__main__":
    main()

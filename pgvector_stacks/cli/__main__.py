"""The entry point of `pgstack` and `python -m pgvector_stacks.cli`. It handles Ctrl-C even during the import."""

import sys


def main() -> None:
    """Run a command. Ctrl-C prints no traceback, not even while Python still imports the program."""
    try:
        from pgvector_stacks.cli import app
    except KeyboardInterrupt:
        sys.exit("stopped")
    app.main()


if __name__ == "__main__":
    main()

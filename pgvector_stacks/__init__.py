"""The library: PostgreSQL with pgvector as a Pulumi program declares it, and the command line beside it."""

import sys

if sys.platform == "win32":  # before anything is imported that Windows lacks
    sys.exit(
        "pgvector-stacks runs on Linux and macOS; on Windows, use it in WSL2: https://learn.microsoft.com/windows/wsl/install"
    )

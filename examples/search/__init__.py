"""A small application on a deployed stack: semantic search over the documentation of Python's standard library.

    python -m examples.search local
    python -m examples.search local --query "compress data with gzip"

It knows the stack by its outputs alone and the database as role `app`.
"""

import os

# Read when numpy is imported, so it stands here. See embedding.py: the threads are ours, one a batch.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
# Nothing here goes to the network; libraries that would are told not to.
os.environ.setdefault("HF_HUB_OFFLINE", "1")

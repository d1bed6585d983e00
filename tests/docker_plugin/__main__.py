"""What the executable `pulumi-resource-docker` runs.

The engine ends a plugin by SIGINT, and prints what it says then where the Cancel before wasn't answered in time. So the
end is silent, as the real plugin's is, from the first moment on.
"""

from __future__ import annotations

import signal
import sys

signal.signal(signal.SIGINT, signal.SIG_DFL)  # not a handler, which the main thread alone would run

from tests.docker_plugin.server import main  # noqa: E402

sys.exit(main(sys.argv[1:]))

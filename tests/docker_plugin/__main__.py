"""What the executable `pulumi-resource-docker` runs."""

from __future__ import annotations

import sys

from tests.docker_plugin.server import main

sys.exit(main(sys.argv[1:]))

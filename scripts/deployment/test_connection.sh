#!/usr/bin/env bash
# Checks a deployed environment's connection and its compatibility; changes nothing. A line a check, ✓ or ✗; exit 0 or 1.
#   scripts/deployment/test_connection.sh [STACK|URL] [--json]        a URL is better in DATABASE_URL than on the line
set -euo pipefail
cd "$(dirname "$0")/../.."
make --silent .venv/ready >&2
exec .venv/bin/pgstack test-connection "$@"

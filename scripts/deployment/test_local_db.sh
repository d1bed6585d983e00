#!/usr/bin/env bash
# Brings the local development database up and checks it. A line a check, ✓ or ✗; exit code 0 or 1.
#   scripts/deployment/test_local_db.sh [--json]        STACK=dev … checks another one of this machine
set -euo pipefail
cd "$(dirname "$0")/../.."
make --silent .venv/ready >&2
.venv/bin/pgstack up "${STACK:-local}" >&2
exec .venv/bin/pgstack test-connection "${STACK:-local}" "$@"

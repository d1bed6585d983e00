"""The upgrade on each engine, and the guardian that starts a server with the data if the upgrade is killed."""

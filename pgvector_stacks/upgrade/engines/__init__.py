"""The upgrade on each engine, and the guardian that leaves a server that serves when it is killed."""

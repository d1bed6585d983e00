"""Scheduled backups: a container beside the server's that makes one a day."""

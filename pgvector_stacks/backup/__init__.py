"""Backups: creates them while the server runs, tries them in a throw-away server, restores them, removes old ones."""

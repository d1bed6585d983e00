"""Looks at a database: drift, validation, recall, compatibility. `up` alone mends what it finds."""

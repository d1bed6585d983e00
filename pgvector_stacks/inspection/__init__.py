"""Inspects a database: drift, validation, recall, compatibility. Only `up` repairs what these modules find."""

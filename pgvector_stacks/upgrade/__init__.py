"""The upgrade to another major version: facts, decision, steps. `engines` runs it, `checks` compares the data."""

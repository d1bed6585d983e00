"""The upgrade to another major version: facts, decision, steps. `engines` carries it out, `checks` compares."""

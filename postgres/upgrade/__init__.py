"""The upgrade to another major version: facts, decision, steps, and the two places where they are carried out."""

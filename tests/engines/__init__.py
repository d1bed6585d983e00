"""One more engine is a package and a line of the registry: `nowhere` proves it."""

"""Code that several resources share: the base of dynamic providers, checks before a change, what an engine declares."""

"""Whether the upgraded server is what the old one was, and what it still needs."""

"""How a database comes back from a dump, with the rights of its owners and no others."""

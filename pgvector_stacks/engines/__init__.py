"""One interface per engine: what runs the server is asked here, and nowhere else does a name of an engine decide."""

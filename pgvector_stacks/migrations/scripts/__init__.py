"""The listed scripts as text: read, cut into statements and steps, planned. Asks no server."""

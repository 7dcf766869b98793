"""The configuration: its schema, and what follows from it. Light: the Snakefile imports it."""

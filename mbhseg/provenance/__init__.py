"""What made a result, and whether it has changed since. Light: the Snakefile imports it."""

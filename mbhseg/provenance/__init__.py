"""What made a result, and whether it is still as made. Light: the Snakefile imports it."""

"""The command line: `mbhseg`."""

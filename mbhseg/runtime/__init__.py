"""How a job runs: errors as one line, processes, progress."""

"""What belongs to the reference project: its weight files, and its score."""

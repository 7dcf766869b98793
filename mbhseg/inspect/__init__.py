"""Reading the archive, and quality control of its cases."""

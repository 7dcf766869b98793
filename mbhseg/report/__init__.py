"""The report: a static folder that opens in a browser from the file system, without network."""

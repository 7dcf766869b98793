"""From the archive to the data set of PNGs: slices, consensus, masks, export."""

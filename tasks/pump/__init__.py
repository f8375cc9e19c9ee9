"""The pump: claims due rows, works on many at once, writes the results back in batches."""

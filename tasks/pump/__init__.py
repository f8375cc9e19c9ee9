"""The pump: claims due rows, works on many at once and writes the results back in batches."""

"""`longtake batch`: many requests from a file, watched, and their videos brought home."""

"""How fast: Longtake against its peers and against the limit, side by side in one run."""

"""One module per upstream; families that share a platform are packages."""

"""Storage of finished videos."""

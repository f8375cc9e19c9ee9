"""The database's rows: SQLModel tables (the schema) beside the typed rows that are read of them."""

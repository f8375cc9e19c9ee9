"""The schema's tables, as SQLModel: for migrations and for tests that compare them."""

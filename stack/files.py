"""Names of a stack's own files in its data folder, which other commands read."""

#: The secrets that seal what the database holds.
SECRET_KEYS = "secret-keys"  # noqa: S105 - a file's name
#: The API key of the tenant "default", for local commands.
DEV_API_KEY = "dev-api-key"

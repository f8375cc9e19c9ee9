"""Django's."""

"""`longtake demo`: real prompts through every model on a stack of its own, every claim checked."""

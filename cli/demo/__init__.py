"""`longtake demo`: real prompts through every model on a private stack, with verified results."""

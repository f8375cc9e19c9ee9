"""fal's queue: Pika and other models."""

"""The catalogue of models and routes, and resolving a request to a plan."""

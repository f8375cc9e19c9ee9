"""Gateways: services that resell several vendors' models."""

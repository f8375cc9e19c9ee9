"""Restored databases: noticing one, parking what may have been paid for, and settling it."""

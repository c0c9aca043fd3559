"""Transports: bytes to calls, outcomes to bytes."""

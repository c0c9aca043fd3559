"""Blobs: contents too large for a row, kept under an id until they expire; the seam, and files that keep them."""

from trivet.blobs.store import About, Blobs, BlobsUnavailable, BlobTooLarge, Reading, Writing

__all__ = ["About", "BlobTooLarge", "Blobs", "BlobsUnavailable", "Reading", "Writing"]

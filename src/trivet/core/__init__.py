"""The words of Trivet as data: modules, operations, shapes, errors, contexts.

Nothing here does I/O, and msgspec is the only import from outside. Everything above speaks in these words.
"""

"""Policies: each looks at an operation once, when the app is built, and wraps its handler or leaves it alone."""

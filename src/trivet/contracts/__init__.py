"""The contract of an app, read from its modules: what is served, under which names, with which shapes."""

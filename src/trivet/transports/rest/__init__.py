"""REST over HTTP: routes, strict binding, JSON, problem documents, server-sent events."""

"""The GraphQL face of an app: its types, read from the model; the schema that tools see; the SDL."""

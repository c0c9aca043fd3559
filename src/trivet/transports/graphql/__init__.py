"""GraphQL over HTTP: documents become plans, and plans run the same operations as every other transport."""

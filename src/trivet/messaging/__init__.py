"""Messages between modules: events, requests for later and jobs, kept in the database until they took effect."""

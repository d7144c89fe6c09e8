"""Server-sent events and what feeds them, for pages and the REST API. Imports neither."""

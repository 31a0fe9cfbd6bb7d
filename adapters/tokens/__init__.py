"""Where a bearer token comes from. Import what you need: each source has a file of its own."""

"""Everything that touches the world: protocols, libraries, servers, the command line. Import what you need."""

"""What a session is made of: `sasl.adapters.session` is where to import it from."""

"""Terms of the measurement equation that act on signals on their way."""

"""Functions and arithmetic."""

"""What there is to build trees of, for people and programs: every node class as text, JSON Schema, and a page of forms."""

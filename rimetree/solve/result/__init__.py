"""What became of a fit: directions that are free and their names, references, reports."""

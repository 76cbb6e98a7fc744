"""The fit of one class of Parms: solution intervals as lanes of vectors."""

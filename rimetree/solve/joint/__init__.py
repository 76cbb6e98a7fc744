"""The fit of several classes together, and of one that is too large for its normal matrix."""

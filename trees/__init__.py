"""Canned trees: functions that build a forest, and the terms they are made of."""

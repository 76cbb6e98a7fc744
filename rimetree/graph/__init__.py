"""The language: node classes, scopes, forests and their families."""

"""`python -m rimetree` is the command `rimetree`."""

from .cli import main

main()

"""`python -m palimpsest`: the command, where the script is not on the path."""

from palimpsest.cli import main

main()

"""`python -m didact` is the `didact` command."""

from didact.cli import main

main()

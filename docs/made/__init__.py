"""The pages that are made from the code, one a file."""

MADE = "<!-- Made by docs/generate.py from the code. Change the docstring, not this page. -->"

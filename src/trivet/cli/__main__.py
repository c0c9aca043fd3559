"""``python -m trivet.cli``: the command line."""

from trivet.cli import main

main()

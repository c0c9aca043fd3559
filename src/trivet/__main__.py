"""``python -m trivet``: the command line."""

from trivet.cli import main

main()

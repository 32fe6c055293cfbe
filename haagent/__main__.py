"""``python -m haagent``, where the package is not installed as a command."""

from haagent.cli.main import main

main()

"""`python -m wattle` is the command `wattle`."""

from wattle.cli import main

if __name__ == "__main__":
    main()

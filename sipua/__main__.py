"""``python -m sipua``."""

from sipua.cli import main

if __name__ == "__main__":
    main()

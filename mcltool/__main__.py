"""``python -m mcltool``."""

from mcltool.cli import main

if __name__ == "__main__":
    main()

"""``python -m mcltool``."""

from mcltool.cli.main import main

if __name__ == "__main__":
    main()

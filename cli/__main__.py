"""`python -m cli`: the `longtake` command where nothing is installed, as in the image."""

from cli.main import main

if __name__ == "__main__":
    main()

"""`python -m cli`: the `longtake` command without an installation, as in the image."""

from cli.main import main

if __name__ == "__main__":
    main()

"""`python -m launch VERB ...`."""

from launch.cli import main

if __name__ == "__main__":
    main()

"""`python -m biasgpu`: the command line."""

from biasgpu.cli import main

if __name__ == "__main__":
    main()

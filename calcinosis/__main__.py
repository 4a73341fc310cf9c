"""`python -m calcinosis`, which torchrun and a checkout that is not installed start."""

from calcinosis.cli.main import main

if __name__ == "__main__":
    main()

"""``python -m pipeline`` is the same command as ``medseg``."""

from pipeline.cli import main

if __name__ == "__main__":
    main()

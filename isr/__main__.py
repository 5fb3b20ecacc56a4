"""`python -m isr` is `isr`."""

from isr.cli import main

if __name__ == "__main__":
    main()

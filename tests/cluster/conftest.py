"""What tests of a cluster share."""

from pictures import photos  # noqa: F401

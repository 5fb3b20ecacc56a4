"""What tests of training share."""

from pictures import photos  # noqa: F401

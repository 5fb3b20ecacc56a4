"""Settings that all tests share."""

import os

from hypothesis import settings

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before anything imports TensorFlow

settings.register_profile("isr", deadline=None)  # the first call compiles, and the machine may be busy
settings.load_profile("isr")

"""Two processes of tests share the cores, so none has threads of its own, and those that a job asks for wait without spinning."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

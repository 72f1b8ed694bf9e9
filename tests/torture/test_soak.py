# SPDX-License-Identifier: Apache-2.0
"""test_soak.py - lifecycles by four at once; `make soak N=300` is the long form; BOXLITE_SOAK_SEED repeats the kills of a failed one"""
import os
import time

import soak

COUNT = int(os.environ.get("BOXLITE_SOAK") or 12)
SEED = os.environ.get("BOXLITE_SOAK_SEED") or ("short" if COUNT < 100 else str(time.time_ns()))


def test_soak(boxlite):
    assert soak.soak(boxlite, COUNT, SEED) == [], f"seed {SEED}"

"""Ctrl-C pressed once, at the worst moment, ends a command."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gc, os, signal, time
from rimetree.interrupts import certain

if {certain}:
    certain()

class Held:
    def __del__(self):
        {finalizer}

def callback(phase, info):
    {collector}

gc.callbacks.append(callback)
try:
    held = Held()
    del held
    gc.collect()
    gc.callbacks.clear()
    for _ in range(100):
        time.sleep(0.02)
    print("lost")
except KeyboardInterrupt:
    print("interrupted")
"""
PRESS = "os.kill(os.getpid(), signal.SIGINT); time.sleep(0.01)"


def outcome(**words) -> str:
    program = PROGRAM.format(**({"certain": True, "finalizer": "pass", "collector": "pass"} | words))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    return done.stdout.strip()


def test_an_interrupt_where_python_ignores_it_comes_again():
    assert outcome(collector=PRESS) == "interrupted"
    assert outcome(finalizer=PRESS) == "interrupted"
    assert outcome(finalizer=PRESS, certain=False) == "lost"  # what it is for

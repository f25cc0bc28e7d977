"""Signals become wishes; clocks add up."""

import os
import signal
import subprocess
import sys
import time

from llmrl.trainers.run import Clock, Interrupts


def test_a_signal_is_noted_and_a_launchers_echo_of_it_is_harmless() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        assert not interrupts.requested
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupts.requested
        assert interrupts.received == signal.SIGINT
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_later_signal_ends_the_process() -> None:
    code = (
        "import os, signal, time\n"
        "from llmrl.trainers.run import Interrupts\n"
        "Interrupts.TOGETHER_S = 0.01\n"
        "with Interrupts():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(0.1)\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(60)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, timeout=50, capture_output=True)
    assert done.returncode == -signal.SIGTERM


def test_a_clock_adds_up_the_parts_of_a_step() -> None:
    clock = Clock()
    for _ in range(2):
        with clock("sample"):
            time.sleep(0.01)
    result = clock.result()
    assert 0.02 <= result["time/sample"] <= result["step_time"]

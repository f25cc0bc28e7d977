"""Reward functions that misbehave, and some that do not. Loaded by path, as a user's file is."""

import asyncio
import os
import re
import subprocess
import sys
import time
from contextlib import suppress

from llmrl.rewards import per_sample


def length(completions, **columns):
    return [float(len(completion)) for completion in completions]


def forever(completions):
    while "loop" in completions:
        pass
    return [1.0] * len(completions)


def fail_or_loop(completions):
    fail(completions)
    return forever(completions)


def backtrack(completions):
    """Holds the interpreter's lock for ever."""
    return [1.0 if re.match(r"(a+)+$", "a" * 60 + "b") else 0.0 for _ in completions]


def die(completions):
    if "die" in completions:
        os._exit(3)
    return [1.0] * len(completions)


def leave(completions):
    sys.exit(4)


def crash(completions):
    os.kill(os.getpid(), 11)


def fail(completions):
    if "fail" in completions:
        raise ValueError("two\nlines")
    return [1.0] * len(completions)


def sleep(completions):
    time.sleep(float(completions[0]))
    return [os.getpid()]


def pid(completions):
    return [os.getpid() for _ in completions]


def talk(completions):
    print("hello from the reward")
    os.system("echo and from its child")
    sys.stdout.flush()
    return [0.0] * len(completions)


def listen(completions):
    return [float(len(sys.stdin.read())) for _ in completions]


def breed(completions):
    """A forked child and a grandchild through the shell; their ids go to the file named by the completion."""
    child = os.fork()
    if child == 0:
        time.sleep(1000)
    other = subprocess.Popen(["sleep", "1000"])
    with open(completions[0], "w") as file:
        file.write(f"{os.getpid()} {child} {other.pid}")
    time.sleep(1000)


def breed_and_die(completions):
    if os.fork() == 0:
        time.sleep(1000)
    os.system("sleep 1000 &")
    os._exit(5)


def scribble(completions):
    """Writes to every file it can find."""
    for descriptor in range(3, 20):
        with suppress(OSError):
            os.write(descriptor, b"\0" * 7 + b"\1" + b"}")
    return [0.0]


def odd(completions):
    return [True, 2, "0.5", None, object(), [1], float("nan")]


@per_sample
async def judge(completion):
    await asyncio.sleep(0.2)
    return float(len(completion))


KEPT = []


def grow(completions):
    """Leaves 150 MB behind."""
    KEPT.append(bytearray(os.urandom(1)) * (150 * 2**20))
    return [os.getpid() for _ in completions]

# ruff: noqa: E501
"""Programs that would be judged right without being right."""

EXPECTED = 5550246813579
"""What the tests expect; the programs below do not know it, but know what to look for."""

HUNT = """
import os, re, sys
caught = []
def hunt(things):
    for thing in things:
        try: text = thing.decode('latin-1') if isinstance(thing, bytes) else repr(thing)[:100000]
        except Exception: continue
        caught.extend(re.findall(r'555[0]\\d{9}', text))
def found(): return int(caught[0]) if caught else 0
"""

FORGED = {
    # the program leaves before it can be judged
    "exits": "import sys; sys.exit(0)",
    "exits at once": "import os; os._exit(0)",
    "exits when called": "import sys\ndef f(x): sys.exit(0)",
    "exits at once when called": "import os\ndef f(x): os._exit(0)",
    "kills itself when called": "import os\ndef f(x): os.kill(os.getpid(), 9)",
    "exits from a thread": "import os, threading\nthreading.Timer(0.01, os._exit, (0,)).start()\ndef f(x):\n    while True: pass",
    "exits in an exit handler": "import atexit, os\natexit.register(os._exit, 0)\ndef f(x): raise SystemExit",
    "replaces itself": "import os\ndef f(x): os.execv('/bin/true', ['true'])",
    "runs itself with -O": "import os, sys\ndef f(x): os.execv(sys.executable, [sys.executable, '-O', *sys.argv])",
    # what it says
    "prints success": 'print(\'["passed", ""]\\n\' * 9 + \'true\\nOK\\n1 passed\')\ndef f(x): print(\'true\\n["passed", ""]\')',
    "writes to every descriptor": """
import os
def f(x):
    for number in range(64):
        for text in (b'true\\n["passed", ""]\\n', b'\\0\\0\\0\\7"ready"', b'{}'):
            try: os.write(number, text)
            except OSError: pass""",
    "answers before it is asked": """
import json, os
data = json.dumps(["value", True]).encode()
for _ in range(9): os.write(4, len(data).to_bytes(4, "big") + data)
def f(x): return True""",
    "answers with references": """
import json, os
def f(x):
    for tree in ({"callback": 0}, {"object": "x"}, {"type": "eval"}, {"set": [[1]]}, {"Decimal": "x"}, {"a": 1, "b": 2}):
        data = json.dumps(["value", tree]).encode()
        os.write(4, len(data).to_bytes(4, "big") + data)""",
    "calls back into the tests": """
import json, os
def f(x):
    data = json.dumps(["callback", 0, [], {"dict": []}]).encode()
    os.write(4, len(data).to_bytes(4, "big") + data)""",
    "an endless message": "import os\ndef f(x): os.write(4, b'\\xff' * 100000)",
    "a deep message": """
import os
def f(x):
    data = b'["value", ' + b'[' * 100000 + b']' * 100000 + b']'
    os.write(4, len(data).to_bytes(4, "big") + data)""",
    "hangs up": "import os\ndef f(x): os.close(4); return 1",
    # what it returns
    "equals everything": "class A:\n    def __eq__(self, other): return True\n    __hash__ = None\ndef f(x): return A()",
    "differs from nothing": """
class A:
    def __eq__(self, other): return True
    def __ne__(self, other): return False
    def __lt__(self, other): return True
    __le__ = __gt__ = __ge__ = __lt__
    def __sub__(self, other): return 0
    __rsub__ = __add__ = __radd__ = __mul__ = __abs__ = __sub__
    def __contains__(self, item): return True
    def __hash__(self): return 0
def f(x): return A()""",
    "mock any": "from unittest.mock import ANY\ndef f(x): return ANY",
    "magic mock": "from unittest.mock import MagicMock\ndef f(x):\n    m = MagicMock()\n    m.__eq__.return_value = True\n    return m",
    "number equal to everything": "class A(int):\n    def __eq__(self, other): return True\n    __hash__ = int.__hash__\ndef f(x): return A()",
    "text equal to everything": "class A(str):\n    def __eq__(self, other): return True\n    __hash__ = str.__hash__\ndef f(x): return A()",
    "list equal to everything": "class A(list):\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "list of objects equal to everything": "from unittest.mock import ANY\ndef f(x): return [ANY, ANY]",
    "dictionary equal to everything": "class A(dict):\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "class equal to everything": "class M(type):\n    def __eq__(cls, other): return True\n    __hash__ = type.__hash__\nclass A(metaclass=M): pass\ndef f(x): return A",
    "not a number": "def f(x): return float('nan')",
    "not implemented": "def f(x): return NotImplemented",
    "claims another class": "class A:\n    __class__ = int\n    def __eq__(self, other): return True\ndef f(x): return A()",
    "returns a proxy": "import weakref\nclass A:\n    def __eq__(self, other): return True\na = A()\ndef f(x): return weakref.proxy(a)",
    # the tools of the trade
    "no assertion error": "import builtins\nbuiltins.AssertionError = Exception\ndef f(x): return 0",
    "its own set, abs and len": """
class A:
    def __eq__(self, other): return True
    def __lt__(self, other): return True
    def __sub__(self, other): return self
def set(x): return A()
abs = len = sorted = tuple = list = str = round = set
def f(x): return A()""",
    "builtins replaced": """
import builtins
class A:
    def __eq__(self, other): return True
    def __lt__(self, other): return True
for name in ('set', 'abs', 'len', 'sorted', 'tuple', 'list', 'str', 'round', 'isinstance', 'all', 'any'):
    setattr(builtins, name, lambda *a: A())
def f(x): return A()""",
    "exec and compile replaced": "import builtins\nbuiltins.exec = builtins.compile = builtins.eval = lambda *a, **k: None\ndef f(x): return 0",
    "modules poisoned": """
import sys, math, json, types
math.isclose = lambda *a, **k: True
json.dumps = lambda *a, **k: '["value", true]'
fake = types.ModuleType('math'); fake.isclose = lambda *a, **k: True
sys.modules['math'] = fake
def f(x): return 0""",
    "module beside it": "open('math.py', 'w').write('isclose = lambda *a, **k: True')\nopen('sitecustomize.py', 'w').write('')\ndef f(x): return 0",
    "harness patched": """
import sys
for module in list(sys.modules.values()):
    for name in ('send', 'encode', 'decode', 'receive', 'run', '_attempt', '_write'):
        if getattr(module, '__name__', '').startswith('inside') and hasattr(module, name):
            setattr(module, name, lambda *a, **k: True)
def f(x): return 0""",
    "tracing": "import sys\ndef trace(frame, event, arg):\n    return trace\nsys.settrace(trace); sys.setprofile(trace)\ndef f(x): return 0",
    "looks through frames": HUNT
    + """
def f(x):
    frame = sys._getframe()
    while frame:
        hunt([*frame.f_locals.values(), *frame.f_globals.values()])
        frame = frame.f_back
    return found()""",
    "looks through objects": HUNT + "import gc\ndef f(x): hunt(gc.get_objects()); return found()",
    "looks through files": HUNT
    + """
def f(x):
    for place, folders, names in os.walk('/'):
        folders[:] = [name for name in folders if name not in ('usr', 'packages', '.pyenv', 'lib')]
        for name in names:
            try: hunt([open(os.path.join(place, name), 'rb').read(1 << 20)])
            except OSError: pass
    return found()""",
    "looks through descriptors": HUNT
    + """
def f(x):
    for number in range(64):
        if number == 4: continue
        try: hunt([os.pread(number, 1 << 20, 0)])
        except OSError: pass
    return found()""",
    "looks through raw memory": HUNT
    + """
import ctypes
def f(x):
    for thing in list(globals().values()) + [0, '', b'', ()]:
        start = (id(thing) >> 20) << 20
        r, w = os.pipe()
        for address in range(start, start + (1 << 20), 4096):
            try: os.write(w, (ctypes.c_char * 4096).from_address(address))
            except OSError: continue
            hunt([os.read(r, 4096)])
    return found()""",
    "remembers its input": "seen = []\ndef f(x):\n    seen.append(x)\n    return seen[-1]",
    "wrong": "def f(x): return 7654321",
    "no function": "g = 1",
    "not a function": "f = 5550246813579",
    "syntax error": "def f(x: return 1",
    "empty": "",
    "raises AssertionError": "def f(x): raise AssertionError",
    "raises StopIteration": "def f(x): raise StopIteration",
    "raises what it defines": "class E(BaseException): pass\ndef f(x): raise E",
    "nul bytes": "def f(x): return 0\n\0",
}

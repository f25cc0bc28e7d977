# ruff: noqa: E501
"""Programs that attack the machine, or what others own on it.

``{secret_file!r}``, ``{victim}`` and ``{port}`` are filled in by the tests: a file of ours, a process of ours, and a
port on which we listen. A program that gets what it wants prints ``PWNED``.
"""

TRY = """
def attempt(work):
    try:
        work()
    except BaseException as error:
        print("refused:", type(error).__name__)
    else:
        print("PWNED")
"""

CONTAINED = {
    # time
    "endless loop": "while True: pass",
    "endless sleep": "import time; time.sleep(1000)",
    "loop that swallows exceptions": "while True:\n    try:\n        while True: pass\n    except BaseException: pass",
    "regular expression": "import re; re.match(r'(a+)+$', 'a' * 60 + 'b')",
    "big power": "x = 9 ** 9 ** 9",
    "signals ignored": """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)""",
    "processor limit ignored": "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass",
    "thread that never ends": "import threading, time\nthreading.Thread(target=time.sleep, args=(1000,)).start()",
    "exit handler that never ends": "import atexit, time\natexit.register(time.sleep, 1000)",
    "finalizer that never ends": "class A:\n    def __del__(self):\n        while True: pass\na = A(); del a",
    "endless import": "import builtins\nbuiltins.__import__ = lambda *a, **k: [0 for _ in iter(int, 1)]\nimport json",
    "stops itself": "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)",
    # processes
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except OSError: pass",
    "patient fork bomb": "import os, time\nwhile True:\n    try:\n        if os.fork() == 0: time.sleep(0.01)\n"
    "    except OSError: time.sleep(0.001)",
    "thread bomb": "import threading, time\nwhile True:\n    try: threading.Thread(target=time.sleep, args=(9,)).start()\n"
    "    except RuntimeError: pass",
    "shell fork bomb": "import os; os.system('bomb(){ bomb|bomb& };bomb')",
    "children without end": "import subprocess\nwhile True:\n    try: subprocess.Popen(['sleep', '1000'])\n"
    "    except OSError: pass",
    "double fork": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(1000)
    os._exit(0)
print("left")""",
    "daemon that ignores signals": """
import os, signal, time
if os.fork() == 0:
    os.setsid()
    for number in range(1, 65):
        try: signal.signal(number, signal.SIG_IGN)
        except (OSError, ValueError): pass
    while True: time.sleep(1)
print("left")""",
    "background shell": "import os; os.system('(trap \"\" HUP TERM; sleep 1000) & disown 2>/dev/null; true'); print('left')",
    "new session": "import subprocess; subprocess.Popen(['sleep', '1000'], start_new_session=True); print('left')",
    "vfork chain": "import os\nfor _ in range(20):\n    if os.fork(): os._exit(0)\nimport time; time.sleep(1000)",
    "kills every process": "import os\ntry: os.kill(-1, 9)\nexcept OSError: pass\nimport time; time.sleep(0.1)",
    "kills its process group": "import os; os.killpg(0, 9)",
    "kills its parent": "import os\nos.kill(os.getppid(), 9)\nos.kill(os.getppid(), 19)\nos.kill(1, 9)",
    "kills ours": TRY + "import os\nattempt(lambda: os.kill({victim}, 9))",
    "slows ours down": TRY + "import os\nattempt(lambda: os.setpriority(os.PRIO_PROCESS, {victim}, 19))",
    "limits its parent": TRY
    + "import os, resource\nattempt(lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CPU, (0, 0)))",
    "traces its parent": TRY
    + """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def trace():
    if libc.ptrace(16, os.getppid(), 0, 0) != 0: raise OSError
attempt(trace)""",
    "reads its parent's memory": TRY
    + """
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
def read():
    if libc.syscall(310, os.getppid(), 0, 0, 0, 0, 0) != 0: raise OSError
attempt(read)""",
    # memory and disk
    "memory bomb": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "memory bomb that does not care": "x = []\nwhile True:\n    try: x.append('x' * (1 << 24))\n    except MemoryError: pass",
    "memory bomb in many processes": """
import os, time
for _ in range(6):
    if os.fork() == 0: break
x = bytearray(150 << 20)
for i in range(0, len(x), 4096): x[i] = 1
time.sleep(1000)""",
    "shared memory": """
import mmap, time
x = [mmap.mmap(-1, 1 << 20) for _ in range(10000)]""",
    "memory files": """
import os
while True:
    descriptor = os.memfd_create("x")
    os.write(descriptor, bytes(1 << 20))""",
    "pipes filled": """
import fcntl, os
held = []
while True:
    r, w = os.pipe()
    os.set_blocking(w, False)
    held.append((r, w))
    try:
        while True: os.write(w, bytes(65536))
    except BlockingIOError: pass""",
    "recursion": "def f(): return f()\nimport sys; sys.setrecursionlimit(10**9); f()",
    "deep nesting": "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "null pointer": "import ctypes; ctypes.string_at(0)",
    "aborts": "import os; os.abort()",
    "output flood": "while True: print('x' * 10000)",
    "error flood": "import sys\nwhile True: sys.stderr.write('x' * 10000)",
    "raw output flood": "import os\nwhile True:\n    try: os.write(1, b'x' * 65536)\n    except OSError: pass",
    "disk fill": "f = open('big', 'wb')\nwhile True: f.write(bytes(1 << 20)); f.flush()",
    "disk fill, many files": """
import itertools
for i in itertools.count():
    try:
        with open(f'f{i}', 'wb') as f: f.write(bytes(1 << 20))
    except OSError: pass""",
    "inode fill": "import itertools\nfor i in itertools.count(): open(f'f{i}', 'w').close()",
    "shared memory fill": """
import itertools
for i in itertools.count():
    with open(f'/dev/shm/f{i}', 'wb') as f: f.write(bytes(1 << 20))""",
    "deep folders": "import os\nfor _ in range(3000): os.mkdir('d'); os.chdir('d')\nos.chmod('.', 0)",
    "closed folders": "import os\nos.makedirs('a/b/c'); open('a/b/c/f', 'w').close()\nos.chmod('a/b', 0); os.chmod('a', 0)",
    # what is not its own
    "reads our file": TRY + "attempt(lambda: open({secret_file!r}).read())",
    "writes our file": TRY + "attempt(lambda: open({secret_file!r}, 'a').write('x'))",
    "removes our file": TRY + "import os\nattempt(lambda: os.remove({secret_file!r}))",
    "links to our file": TRY + "import os\nos.symlink({secret_file!r}, 'link')\nattempt(lambda: open('link').read())",
    "shell reads our file": TRY
    + "import subprocess\nattempt(lambda: subprocess.run(['cat', {secret_file!r}], check=True, capture_output=True))",
    "passwords": TRY + "attempt(lambda: open('/etc/shadow').read())",
    "home": TRY + "import os\nattempt(lambda: os.listdir('/home'))",
    "writes to the system": TRY + "attempt(lambda: open('/usr/lib/pwned', 'w'))",
    "writes to Python": TRY + "import os\nattempt(lambda: open(os.__file__, 'a'))",
    "writes to the root": TRY + "attempt(lambda: open('/pwned', 'w'))",
    "environment": "import os\nprint('PWNED' if any('SECRET' in k for k in os.environ) else 'nothing')",
    "environment of the first process": TRY + "attempt(lambda: open('/proc/1/environ').read())",
    "environment of its parent": TRY + "import os\nattempt(lambda: open(f'/proc/{os.getppid()}/environ').read())",
    "other processes": TRY + "import os\nattempt(lambda: [p for p in os.listdir('/proc') if p.isdigit()][0])",
    "memory of the first process": TRY + "attempt(lambda: open('/proc/1/mem', 'rb').read(1))",
    "descriptors left open": """
import os
found = []
for number in range(3, 256):
    try: os.fstat(number); found.append(number)
    except OSError: pass
print('PWNED' if len(found) > 1 else 'nothing')""",
    "device files": TRY + "attempt(lambda: open('/dev/vda', 'rb').read(1) + open('/dev/kmsg').read(1).encode())",
    "makes a device": TRY
    + "import os, stat\nattempt(lambda: os.mknod('disk', stat.S_IFBLK | 0o600, os.makedev(254, 0)))",
    # the network
    "connects to us": TRY + "import socket\nattempt(lambda: socket.create_connection(('127.0.0.1', {port}), 1))",
    "connects outside": TRY + "import socket\nattempt(lambda: socket.create_connection(('1.1.1.1', 53), 1))",
    "looks a name up": TRY + "import socket\nattempt(lambda: socket.getaddrinfo('example.com', 80))",
    "sends a packet": TRY
    + "import socket\nattempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', {port})))",
    "local sockets": TRY + "import socket\nattempt(lambda: socket.socket(socket.AF_UNIX).connect('/run/dbus'))",
    # the kernel
    "new namespaces": TRY
    + "import ctypes\ndef go():\n    if ctypes.CDLL(None).unshare(0x10000000): raise OSError\nattempt(go)",
    "mounts": TRY
    + "import ctypes\ndef go():\n    if ctypes.CDLL(None).mount(b'x', b'/tmp', b'tmpfs', 0, 0): raise OSError\nattempt(go)",
    "changes its user": TRY + "import os\nattempt(lambda: os.setuid(12345))",
    "raises its limits": TRY
    + "import resource\nattempt(lambda: resource.setrlimit(resource.RLIMIT_NPROC, (10**6, 10**6)))",
    "changes its root": TRY + "import os\nattempt(lambda: os.chroot('.'))",
    "sets the clock": TRY + "import time\nattempt(lambda: time.clock_settime(time.CLOCK_REALTIME, 0))",
    "names the host": TRY + "import socket\nattempt(lambda: socket.sethostname('pwned'))",
    "setuid programs": "import subprocess\nprint(subprocess.run(['su', '-c', 'echo PWN' + 'ED'], stdin=-3, capture_output=True).stdout)",
}

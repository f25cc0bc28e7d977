"""What runs inside the sandbox: standard library only, imported by a bare interpreter under the name ``inside``.

The template process forks one child for each program. Nothing here ever runs untrusted code before
:func:`jail.lock` has taken away what that code must not have.
"""

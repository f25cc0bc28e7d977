"""How programs are judged: what tests can do, and what they see of a program."""

from __future__ import annotations

import pytest

from llmrl.errors import VerifierError
from llmrl.verifiers import code
from llmrl.verifiers.code import (
    Asserts,
    CheckFunction,
    InputOutput,
    Limits,
    run_python,
    run_tests,
)
from llmrl.verifiers.sandbox.levels import LEVELS


@pytest.fixture(params=LEVELS)
def level(request: pytest.FixtureRequest) -> str:
    try:
        run_python("", sandbox=request.param)
    except VerifierError as error:
        pytest.skip(str(error))
    return request.param


def asserts(program: str, *tests: str, setup: str = "") -> list[str]:
    return [test.outcome for test in run_tests(program, Asserts(tests, setup)).per_test]


def test_each_assert_is_a_test(level: str) -> None:
    tests = ["assert f(1) == 2", "assert f(1) == 3", "assert g(1)", "assert f('a') == 1", "assert f(3) == 4"]
    report = run_tests("def f(x): return x + 1", Asserts(tests), sandbox=level)
    assert [test.outcome for test in report.per_test] == ["passed", "failed", "error", "error", "passed"]
    assert (report.passed, report.total, report.fraction, report.all_passed) == (2, 5, 0.4, False)
    assert report.status == "ok"
    assert report.per_test[2].message == "NameError: name 'g' is not defined"


def test_a_loop_ends_the_tests_that_follow() -> None:
    program = "def f(x):\n    while x == 2: pass\n    return x"
    report = run_tests(program, Asserts([f"assert f({x}) == {x}" for x in range(4)]), limits=Limits(wall_s=0.5))
    assert [test.outcome for test in report.per_test] == ["passed", "passed", "timeout", "not run"]
    assert (report.status, report.passed) == ("timeout", 2)


def test_a_program_that_does_not_load_passes_nothing() -> None:
    for program in ("1 / 0", "def f(:", "import sys; sys.exit(0)"):
        report = run_tests(program, Asserts(["assert True"]))
        assert (report.passed, report.status) == (0, "error")
        assert report.per_test[0].outcome == "not run"


def test_values_of_all_plain_types_go_in_and_come_out() -> None:
    values = (
        "None, True, 0, -1, 10**5000, 1.5, float('inf'), 'é\\ud800', b'\\0', bytearray(b'x'), 2j, (), (1,), [[]],"
        "{1, 2}, frozenset({3}), {(1, 2): [3], None: {}}, range(3), Counter('aab'), deque([1], 3), OrderedDict(a=1),"
        "Decimal('1.10'), Fraction(1, 3), datetime(2020, 1, 2, 3), date(2020, 1, 2), timedelta(1, 2), int, ..."
    )
    imports = (
        "from collections import *\nfrom decimal import *\nfrom fractions import *\nfrom datetime import *\n"
        f"values = [{values}]"
    )
    test = "for v in values:\n    assert type(f(v)) is type(v), v\n    assert f(v) == v, v\n"
    test += "assert isinstance(f(float('nan')), float)"
    assert asserts("def f(x): return x", test, setup=imports) == ["passed"]


def test_subclasses_come_out_as_their_plain_part() -> None:
    program = (
        "from collections import namedtuple, defaultdict\nfrom enum import IntEnum\n"
        "class E(IntEnum):\n    A = 3\n"
        "def f(): return [namedtuple('P', 'x y')(1, 2), defaultdict(int, a=1), E.A, type('S', (str,), {})('s')]"
    )
    assert asserts(program, "assert f() == [(1, 2), {'a': 1}, 3, 's']") == ["passed"]


def test_objects_of_the_program_are_used_through_stand_ins() -> None:
    program = (
        "class Node:\n    def __init__(self, data): self.data, self.left = data, None\n"
        "    def double(self, by=2): return self.data * by\n"
        "    def __len__(self): return 3\n"
        "    def __getitem__(self, i): return i + 1\n"
        "    def __str__(self): return f'N{self.data}'\n"
        "def total(node): return node.data + (total(node.left) if node.left else 0)\n"
        "def count():\n    n = 0\n    while True:\n        yield n\n        n += 1\n"
    )
    setup = "root = Node(5)\nroot.left = Node(7)\nfrom itertools import islice"
    tests = [
        "assert total(root) == 12",
        "assert root.left.data == 7 and root.left is root.left",
        "assert root.double() == 10 and root.double(by=3) == 15",
        "assert len(root) == 3 and root[4] == 5 and str(root) == 'N5'",
        "assert list(islice(count(), 3)) == [0, 1, 2]",
        "assert root != 5 and not root == Node(5)",
        "assert root.right",
    ]
    assert asserts(program, *tests, setup=setup) == ["passed"] * 6 + ["error"]


def test_functions_of_the_tests_can_be_handed_over() -> None:
    program = "def apply(f, xs): return [f(x) for x in xs]\n"
    program += "def catch(f):\n    try: f()\n    except KeyError: return 'caught'"
    tests = [
        "assert apply(lambda x: x * 10, [1, 2]) == [10, 20]",
        "assert apply(len, ['a', 'bc']) == [1, 2]",
        "def bad(): raise KeyError\nassert catch(bad) == 'caught'",
        "assert apply(int, ['1']) == [1]",
    ]
    assert asserts(program, *tests) == ["passed"] * 4


def test_exceptions_cross_over() -> None:
    program = "class Mine(ValueError): pass\n"
    program += "def f(x): raise {1: Mine('m'), 2: KeyError('k'), 3: UnicodeDecodeError('u', b'', 0, 1, 'r')}[x]"
    tests = [
        "try:\n    f(1)\nexcept ValueError as e:\n    assert str(e) == 'm'\nelse:\n    assert False",
        "try:\n    f(2)\nexcept KeyError:\n    pass\nelse:\n    assert False",
        "try:\n    f(3)\nexcept ValueError:\n    pass\nelse:\n    assert False",
    ]
    assert asserts(program, *tests) == ["passed"] * 3


def test_work_in_place_is_seen_where_nothing_is_returned() -> None:
    program = "def sort(xs): xs.sort()\ndef fill(d): d['a'] = 1\ndef cheat(xs): xs[:] = []; return []"
    tests = [
        "xs = [3, 1, 2]\nsort(xs)\nassert xs == [1, 2, 3]",
        "d = {}\nfill(d)\nassert d == {'a': 1}",
        "xs = [3, 1, 2]\nassert cheat(xs) == sorted(xs)",
    ]
    assert asserts(program, *tests) == ["passed", "passed", "failed"]


def test_builtin_names_are_pythons_unless_they_are_what_is_tested() -> None:
    assert asserts("def sum(a, b): return a - b", "assert sum(3, 1) == 2") == ["passed"]
    program = "def set(x): return 1\ndef f(x): return x"
    assert asserts(program, "assert set(f([1])) == set([2])", "assert set(f([1])) == {1}") == ["failed", "passed"]


def test_modules_in_tests_are_pythons() -> None:
    program = "import math\nclass math:\n    isclose = lambda *a: True\ndef f(): return 1.0"
    assert asserts(program, "assert math.isclose(f(), 2)", "assert math.isclose(f(), 1)") == ["failed", "passed"]


def test_a_check_function_takes_its_helpers_from_the_prompt() -> None:
    prompt = "def encode(s): return s[::-1]\n\ndef decode(s):\n    '''Undo encode.'''\n"
    check = "def check(candidate):\n    for s in ('ab', 'xyz'):\n        assert candidate(encode(s)) == s\n"
    tests = CheckFunction(check, "decode", prompt)
    assert run_tests(prompt + "    return s[::-1]\n", tests).all_passed
    forged = prompt + "    return s\n\ndef encode(s): return s\n"
    assert not run_tests(forged, tests).all_passed
    remembering = prompt + "    return seen.pop()\n\nseen = []\ndef encode(s): seen.append(s); return s[::-1]\n"
    assert not run_tests(remembering, tests).all_passed


def test_input_and_output() -> None:
    program = "n = int(input())\nif n == 3: 1 / 0\nwhile n == 4: pass\nprint(n * 2, end=' \\n\\n')"
    pairs = [("1\n", "2\n"), ("2\n", "5"), ("3\n", "6"), ("4\n", "8"), ("5", "10")]
    report = run_tests(program, InputOutput(pairs), limits=Limits(wall_s=0.4))
    assert [test.outcome for test in report.per_test] == ["passed", "failed", "error", "timeout", "passed"]
    assert (report.passed, report.total, report.status) == (2, 5, "error")


@pytest.mark.parametrize("tests", [Asserts([]), InputOutput([]), Asserts(["assert f("]), CheckFunction("def", "f")])
def test_tests_that_are_none_are_an_infrastructure_failure(tests: code.Tests) -> None:
    with pytest.raises(VerifierError):
        run_tests("", tests)


def test_a_test_that_does_not_end_is_ended() -> None:
    report = run_tests("def f(): return 1", Asserts(["while f(): pass"]), limits=Limits(wall_s=0.3))
    assert (report.passed, report.status) == (0, "timeout")

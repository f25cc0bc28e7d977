"""Answers made to stall, bloat or fool a checker; none of them is an answer to anything here."""

from __future__ import annotations

BOMBS = [
    r"9^{9^{9}}", r"9^{9^{9^{9}}}", "9**9**9**9", r"2^{2^{2^{2^{2^{2}}}}}", "1000000!", "((100!)!)!", "((((5!)!)!)!)",
    r"\binom{1000000}{500000}", r"\binom{10^{9}}{5*10^{8}}", r"\sum_{k=1}^{10^9} k^k", r"\prod_{k=1}^{10^8} k",
    r"\sum_{k=1}^{1000000000}\frac{1}{k}", r"\gcd(10^{1000000},10^{999999})", r"\gcd(9^{9^{9}},3)",
    r"\operatorname{lcm}(10^{100000},7)", "(x+1)^{100000}", "(x+y+z+w)^{500}", r"x^{9^{9^{9}}}", r"\sqrt[9999999]{2}",
    r"\int_0^1 x^{x^{x}} dx", r"\int e^{x^2}\sin(x)\cos(x^3) dx", r"e^{e^{e^{e^{10}}}}", r"2^{0.5^{-100}}",
    r"\log(\log(\log(9^{9^9})))", r"\sin(10^{10^{10}})", r"\lfloor 10^{10^{10}}\rfloor", r"7^{10^{12}} \bmod 13",
    r"\begin{pmatrix}9^{9^{9}}&1\\1&1\end{pmatrix}", r"\det\begin{pmatrix}9^{9^9}&1\\1&1\end{pmatrix}",
    r"\Gamma(10^{6})",
    "1e999999999", "1e-999999999", "10^{-999999999}", "(1+1/10^{10})^{10^{10}}",
    r"0^{0^{0}}", r"\frac{0}{0}", "1/0",
    r"\tan 90^\circ", r"\infty-\infty", r"\ln 0", r"\frac{}{}", r"\sqrt{}", "^{}", "_{}",
]  # fmt: skip
LONG = [
    "9" * 100_000, "0." + "3" * 100_000, "-" * 10_000 + "1", "1+" * 20_000 + "1", "x" * 5_000, "1/" * 5_000 + "1",
    "=1" * 3_000, "<1" * 3_000, r"\cup" * 1_000, r"[1,2]" + r"\cup[1,2]" * 199, "1 000" * 500, "1,000" * 500,
    "and " * 2_000, "1 or " * 300 + "1", "1 and " * 199 + "2", " ".join(["x"] * 3_000), "^" * 3_000, "!" * 500,
    r"\{" + ",".join(map(str, range(3_000))) + r"\}", "(" + ",".join(["1"] * 5_000) + ")", r"\pm" * 50 + "1",
    ",".join(f"{i}x" for i in range(150)), "; ".join(f"({i},{i})" for i in range(150)), "5" + "!" * 50,
    r"0.\overline{" + "123456789" * 300 + "}", "1," * 100_000, "#### " * 40_000, "answer is " * 20_000, "|" * 2_001,
]  # fmt: skip
NESTED = [
    "(" * 5_000 + "1" + ")" * 5_000, "{" * 5_000 + "1" + "}" * 5_000, r"\sqrt{" * 3_000 + "2" + "}" * 3_000,
    r"\frac{1}{" * 2_000 + "2" + "}" * 2_000, r"\frac{1}{1+" * 18 + "1" + "}" * 18, r"\boxed{" * 30_000,
    r"\text{" * 500 + "a" + "}" * 500, "a_{" * 500 + "1" + "}" * 500, r"\left(" * 100 + "1" + r"\right)" * 100,
    "f(" * 100 + "x" + ")" * 100, r"\overline{" * 50 + "3" + "}" * 50, "{" * 200_000, r"\frac" * 2_000,
]  # fmt: skip
ODD = ["\\" * 5_000, "$" * 5_000, "\u0301" * 5_000, "𝟗" * 3_000, "１" * 3_000, "\x00" * 100, "\ud800", "a\u202eb", "%s"]
CODE = [
    "__import__('os').system('touch {mark}')", "exec(open('{mark}','w'))", "open('{mark}','w').write('x')",
    "[c for c in ().__class__.__base__.__subclasses__()]", r"\input{/etc/passwd}", r"\write18{touch {mark}}",
    "lambda: open('{mark}','w')", "eval('open(\"{mark}\",\"w\")')", "x.__class__.__mro__", "(lambda: 5)()",
]  # fmt: skip

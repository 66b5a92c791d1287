"""MathML of a formula in TeX, of the few commands that equations of attention need.

Letters are variables, words of several letters are written by a command (`\\tanh`) or as
`\\text{...}`; `_` and `^` take one token or a group in braces. Anything else is a ValueError.
"""

import html
import re

_GREEK = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "epsilon": "ϵ", "theta": "θ",
    "lambda": "λ", "mu": "μ", "pi": "π", "rho": "ρ", "sigma": "σ", "tau": "τ", "phi": "φ",
}  # fmt: skip
_OPERATORS = {
    "cdot": "·", "times": "×", "in": "∈", "le": "≤", "ge": "≥", "sum": "∑", "to": "→", "mid": "|",
    "top": "⊤", "odot": "∘", "ldots": "…", "land": "∧", "lor": "∨", "cup": "∪", "ne": "≠",
}  # fmt: skip
_FENCES = {
    "lvert": ("prefix", "|"), "rvert": ("postfix", "|"),
    "lVert": ("prefix", "‖"), "rVert": ("postfix", "‖"),
}  # fmt: skip
_THIN = '<mspace width="0.17em"/>'
_FUNCTIONS = {
    "tanh", "exp", "log", "softmax", "sigmoid", "score", "concat", "argmax", "max", "sin", "cos",
    "align", "attention", "sign", "cross",
}  # fmt: skip
_TOKEN = re.compile(r"\\[A-Za-z]+|\\[,;{}]|[0-9]+(?:\.[0-9]+)?|\S")
# Those whose group is text and not a formula.
_TEXT = re.compile(r"\\text\{([^{}]*)\}")


def to_mathml(formula: str) -> str:
    """A formula in a block of its own; a line break is `\\\\`."""
    lines = [_Reader(line).read() for line in formula.split("\\\\") if line.strip()]
    rows = "".join(f"<mtr><mtd>{line}</mtd></mtr>" for line in lines)
    table = f'<mtable displaystyle="true">{rows}</mtable>'
    label = html.escape(" ".join(formula.split()), quote=True)
    return f'<div class="formula"><math alttext="{label}">{table}</math></div>'


class _Reader:
    """A reader of one line of a formula, token by token."""

    def __init__(self, line: str):
        self._texts: list[str] = []
        self._before = "("
        line = _TEXT.sub(self._keep_text, line)
        self._tokens = _TOKEN.findall(line)[::-1]

    def read(self, end: str = "") -> str:
        """The formula up to a token, or to its end."""
        parts = []
        while self._tokens and self._tokens[-1] != end:
            name = self._tokens[-1][1:]
            parts.append(self._with_scripts(self._atom()))
            if name in _FUNCTIONS:  # a thin space around its name, but not before a bracket
                parts.insert(-1, _THIN)
                opens = self._tokens and self._tokens[-1] in ("(", "[", "\\left")
                parts += [] if opens else [_THIN]
        if end and not self._tokens:
            raise ValueError(f"a formula lacks its {end!r}")
        return f"<mrow>{''.join(parts)}</mrow>"

    def _keep_text(self, found: re.Match) -> str:
        self._texts.append(found[1])
        return "\\keptText "

    def _atom(self) -> str:
        token, before = self._tokens.pop(), self._before
        self._before = token
        if token == "{":
            inner = self.read("}")
            self._tokens.pop()
            return inner
        if token.startswith("\\"):
            return self._command(token[1:])
        if token[0].isdigit():
            return f"<mn>{token}</mn>"
        if token.isalpha() or token in "∅":
            return f"<mi>{token}</mi>"
        if token in "}_^&#$":
            raise ValueError(f"a formula has {token!r} where a symbol is expected")
        if token == "-":
            form = ' form="prefix"' if before in "([{=;," else ""
            return f"<mo{form}>−</mo>"
        sign = html.escape(token)
        return f'<mo stretchy="false">{sign}</mo>' if token in "()[]|" else f"<mo>{sign}</mo>"

    def _command(self, name: str) -> str:
        if name == "keptText":
            return f"<mtext>{html.escape(self._texts.pop(0))}</mtext>"
        if name == "left":
            left, inner = self._tokens.pop(), self.read("\\right")
            del self._tokens[-1:]
            return f"<mrow><mo>{left}</mo>{inner}<mo>{self._tokens.pop()}</mo></mrow>"
        if name == "frac":
            return f"<mfrac>{self._atom()}{self._atom()}</mfrac>"
        if name == "sqrt":
            return f"<msqrt>{self._atom()}</msqrt>"
        if name in ("bar", "tilde", "hat"):
            mark = {"bar": "¯", "tilde": "~", "hat": "^"}[name]
            return f'<mover accent="true">{self._atom()}<mo>{mark}</mo></mover>'
        if name in (",", ";", "quad"):
            width = {",": "0.2em", ";": "0.5em", "quad": "1.5em"}[name]
            return f'<mspace width="{width}"/>'
        if name in _FUNCTIONS:
            return f"<mi>{name}</mi>"
        if name in _GREEK:
            return f"<mi>{_GREEK[name]}</mi>"
        if name in _FENCES:
            return f'<mo form="{_FENCES[name][0]}" stretchy="false">{_FENCES[name][1]}</mo>'
        if name in _OPERATORS:
            return f"<mo>{_OPERATORS[name]}</mo>"
        raise ValueError(f"a formula has the command \\{name}, which is not known here")

    def _with_scripts(self, base: str) -> str:
        scripts = {}
        while self._tokens and self._tokens[-1] in ("_", "^"):
            mark = self._tokens.pop()
            if not self._tokens:
                raise ValueError(f"a formula ends with {mark!r}")
            scripts[mark] = self._atom()
        match scripts:
            case {"_": low, "^": high}:
                return f"<msubsup>{base}{low}{high}</msubsup>"
            case {"_": low} if base == "<mo>∑</mo>":
                return f"<munder>{base}{low}</munder>"
            case {"_": low}:
                return f"<msub>{base}{low}</msub>"
            case {"^": high}:
                return f"<msup>{base}{high}</msup>"
        return base

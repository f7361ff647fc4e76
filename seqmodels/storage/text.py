"""Display of untrusted text: control characters become escapes."""

_NAMES = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
# Marks of direction, which rearrange the text around them.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: object, keep: str = "") -> str:
    r"""Returns the text with control characters, such as ESC and BEL, as escapes.

    Args:
      text: any value; what `str` makes of it is shown.
      keep: control characters that stay, such as "\n".

    Examples:
      >>> print(printable("a\x1b[31mb\x07"))
      a\x1b[31mb\x07
    """
    return "".join(_shown(sign, keep) for sign in str(text))


def _shown(sign: str, keep: str) -> str:
    code = ord(sign)
    controls = code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    if sign in keep or not (controls or sign in _DIRECTIONS or sign in "\u2028\u2029"):
        return sign
    return _NAMES.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")

"""Text that others wrote, for a terminal: what would steer it is escaped.  Pure; knows no colours."""


def visible(text: str, keep: str = "") -> str:
    """Return *text* with what cannot be seen spelled out: control characters, reversed writing.

    Args:
        text: What somebody wrote, a plugin say.
        keep: What stays all the same: the end of a line, say.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else repr(c)[1:-1] for c in text)

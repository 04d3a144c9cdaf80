"""``sipua demo``"""


def demo() -> None:
    """x"""

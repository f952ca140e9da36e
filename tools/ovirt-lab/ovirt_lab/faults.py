"""Refusals, in the engine's words."""

LOCKED_VM = "The VM is during a backup operation."


class Fault(Exception):
    """An answer with a `fault` document."""

    def __init__(self, status, detail, reason="Operation Failed"):
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.reason = reason


class Missing(Exception):
    """404 with an empty body."""


class PhaseFailure(Exception):
    """An operation that failed after it was accepted."""


def conflict(text):
    """409: the state forbids it now."""
    return Fault(409, f"[{text}]")


def bad(text):
    """400: the request is wrong."""
    return Fault(400, f"[{text}]")


def internal(text="Internal Engine Error"):
    """500: the engine broke."""
    return Fault(500, f"[{text}]")


def incomplete(entity, members, method):
    """400: a mandatory member is missing."""
    return Fault(400, f"{entity} [{members}] required for {method}", "Incomplete parameters")

"""A small oVirt for one machine: a real ovirt-imageio daemon and real QEMU exports behind a
simulated engine."""

import os

#: The directory that holds this package, the entry script and the tests.
HOME = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def state_dir(given=None):
    """Where the virtual environment lives, and the lab itself unless told otherwise."""
    base = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    return os.path.abspath(given or os.environ.get("OVIRT_LAB_STATE")
                           or os.path.join(base, "backstop-lab"))

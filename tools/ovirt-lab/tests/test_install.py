"""What apt may do, and what not."""

import unittest

from ovirt_lab import install

FRESH = """Inst qemu-utils (1:7.2+dfsg-7+deb12u18 Debian:12.15/oldstable [amd64])
Inst libaio1 (0.3.113-4 Debian:12.15/oldstable [amd64])
Inst libc6 [2.36-1] (2.36-9 Debian:12.15/oldstable [amd64])
Conf qemu-utils (1:7.2+dfsg-7+deb12u18 Debian:12.15/oldstable [amd64])
"""
REMOVES = "Remv qemu-utils [1:10.0.2+ds-2+deb13u1~bpo12+1]\n"
EXCHANGES = "Inst qemu-utils [1:10.0.2+ds-2] (1:7.2+dfsg-7 Debian:12.15/oldstable [amd64])\n"


class Plans(unittest.TestCase):
    """Plans of `apt-get -s`."""

    def test_new_packages_are_fine_and_lost_ones_are_not(self):
        self.assertEqual([], install.losses(FRESH))
        self.assertEqual([REMOVES.strip()], install.losses(FRESH + REMOVES))
        self.assertEqual([EXCHANGES.strip()], install.losses(EXCHANGES + FRESH))


if __name__ == "__main__":
    unittest.main()

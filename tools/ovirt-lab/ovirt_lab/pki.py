"""Two authorities, as at a site that replaced the web certificate: one for the engine's API, one
for the daemons on the hosts. A third signs nothing and serves tests of refusal."""

import hashlib
import os
import ssl
import subprocess

#: Made in a moment, which keys of RSA are not.
NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1")
NAMES = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"


def _openssl(*args):
    done = subprocess.run(["openssl", *args], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl {args[0]}: {done.stderr.strip()[-400:]}")


def _authority(directory, name, subject):
    key, cert = (os.path.join(directory, name + end) for end in ("-key.pem", ".pem"))
    _openssl("req", "-x509", "-new", "-nodes", *NEW_KEY, "-sha256", "-days", "3650",
             "-subj", subject, "-addext", "basicConstraints=critical,CA:TRUE",
             "-addext", "keyUsage=critical,keyCertSign,cRLSign", "-keyout", key, "-out", cert)
    os.chmod(key, 0o600)


def _leaf(directory, name, authority, subject):
    base = os.path.join(directory, name)
    _openssl("req", "-new", "-nodes", *NEW_KEY, "-subj", subject,
             "-keyout", base + "-key.pem", "-out", base + ".csr")
    with open(base + ".ext", "w", encoding="ascii") as file:
        file.write(f"{NAMES}\nbasicConstraints=critical,CA:FALSE\n"
                   "keyUsage=critical,digitalSignature\n"
                   "extendedKeyUsage=serverAuth,clientAuth\n")
    ca = os.path.join(directory, authority)
    _openssl("x509", "-req", "-in", base + ".csr", "-CA", ca + ".pem", "-CAkey", ca + "-key.pem",
             "-CAcreateserial", "-days", "3650", "-sha256", "-extfile", base + ".ext",
             "-out", base + ".pem")
    os.chmod(base + "-key.pem", 0o600)
    for end in (".csr", ".ext"):
        os.unlink(base + end)


def create(directory):
    """Creates what is missing of api-ca, internal-ca, other-ca, engine and host."""
    os.makedirs(directory, exist_ok=True)
    for name, subject in (("api-ca", "/O=lab web/CN=lab web authority"),
                          ("internal-ca", "/O=lab/CN=lab engine authority"),
                          ("other-ca", "/O=stranger/CN=unrelated authority")):
        if not os.path.exists(os.path.join(directory, name + ".pem")):
            _authority(directory, name, subject)
    for name, authority in (("engine", "api-ca"), ("host", "internal-ca")):
        if not os.path.exists(os.path.join(directory, name + ".pem")):
            _leaf(directory, name, authority, f"/O=lab/CN=localhost/OU={name}")
    with open(os.path.join(directory, "ca-bundle.pem"), "wb") as bundle:
        for name in ("api-ca.pem", "internal-ca.pem"):
            with open(os.path.join(directory, name), "rb") as file:
                bundle.write(file.read())


def renew(directory, name):
    """Replaces one of the authorities and its certificate, as an administrator would."""
    for stem in {"api-ca": ("api-ca", "engine"), "internal-ca": ("internal-ca", "host")}[name]:
        for end in (".pem", "-key.pem"):
            os.unlink(os.path.join(directory, stem + end))
    create(directory)


def fingerprint(path):
    """SHA-256 of the certificate in a PEM file, as lower-case hex."""
    with open(path, encoding="ascii") as file:
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(file.read())).hexdigest()

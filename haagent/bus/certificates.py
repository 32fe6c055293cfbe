"""The certificates of the peer bus, which all follow from the cluster key.

Every agent derives the same authority from the cluster key and signs a certificate of its own at
each start; so nothing has to be copied, renewed or revoked, and who has no cluster key has no
certificate.  They are good at any time: a clock that is wrong cuts nobody off.

``python -m haagent.bus.certificates`` reads ``{"seed": hexadecimal, "cluster": ..., "node": ...}``
from its input and writes ``{"authority": ..., "certificate": ..., "key": ...}``, in PEM: a process
of its own, so that the agent need not load what makes them.

What this module does not do: say who may connect (``haagent.bus.hello``).
"""

import json
import sys
from datetime import datetime
from typing import TypedDict

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from haagent.bus.hello import certificate_name
from haagent.core.identity import node_id
from haagent.wire.auth import hkdf_sha256

_FROM = datetime(1970, 1, 1)  # noqa: DTZ001 - as x509 wants it, UTC is meant
_UNTIL = datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001
"""What stands for "no end" (RFC 5280 4.1.2.5)."""

_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
"""Of the group of P-256 (SEC 2 2.4.2)."""


class Certificates(TypedDict):
    """What one end needs, each in PEM."""

    authority: str
    certificate: str
    key: str


def certificates(seed: bytes, cluster: str, node: str) -> Certificates:
    """Return those of the agent called ``node``; the key is a new one each time.

    ``seed`` is what ``haagent.wire.auth.derive_bus_seed`` returns.
    """
    authority = _authority_key(seed)
    issuer = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, cluster)])
    own = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([*issuer, x509.NameAttribute(NameOID.COMMON_NAME, node)])
    root = (
        _builder(issuer, issuer, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    name = x509.DNSName(certificate_name(node_id(node)))
    leaf = (
        _builder(subject, issuer, own.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([name]), critical=False)
        .sign(authority, hashes.SHA256())
    )
    key = own.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return Certificates(
        authority=root.public_bytes(Encoding.PEM).decode(),
        certificate=leaf.public_bytes(Encoding.PEM).decode(),
        key=key.decode(),
    )


def _authority_key(seed: bytes) -> ec.EllipticCurvePrivateKey:
    """Return the key that is the same wherever ``seed`` is.

    Source: FIPS 186-5 A.2.1 (a private key from 64 bits more than the order has).
    """
    bits = hkdf_sha256(seed, salt=b"", info=b"P-256", size=40)
    return ec.derive_private_key(int.from_bytes(bits, "big") % (_ORDER - 1) + 1, ec.SECP256R1())


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(_FROM)
        .not_valid_after(_UNTIL)
    )


def main() -> None:
    """Write the certificates that the input asks for."""
    asked = json.load(sys.stdin)
    made = certificates(bytes.fromhex(asked["seed"]), asked["cluster"], asked["node"])
    json.dump(made, sys.stdout)


if __name__ == "__main__":
    main()

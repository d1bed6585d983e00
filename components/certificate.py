"""A generated TLS certificate, for a stack that gives none. Its key is in the state, encrypted.

The certificate signs itself and nothing else: a client that requires `sslmode=verify-full` takes the output
`certificate` as its root, and a thief of the key can't create a certificate for another name. If the certificate
expires within a month, or a new one is requested, `read` writes an input that the program never declares. So the
preview shows a change, and `up` creates the next certificate.
"""

from __future__ import annotations

import ipaddress
import os
from datetime import timedelta
from typing import Any

import pulumi
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from pulumi.dynamic import CheckResult, CreateResult, ReadResult, UpdateResult

from pgvector_stacks.connections import certificate_expiry

from .shared.props import Props
from .shared.provider import DynamicResource, Provider, hide_tracebacks, select_inputs

ASKED = "PGSTACK_ROTATE_CERTIFICATE"  # `pgstack up --rotate-certificate` sets it to 1
RENEW = "renew"  # an input that only `read` writes
OUTPUTS = ("certificate", "key")


def generate_self_signed(names: list[str]) -> tuple[str, str]:
    """Create (certificate, key) in PEM for these host names and addresses: ECDSA on P-256, valid for two years."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
    now = certificate_expiry.utc_now()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + certificate_expiry.VALID)
        .add_extension(x509.SubjectAlternativeName([_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_allow_signing_only(), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        ).decode(),
    )


def _allow_signing_only() -> x509.KeyUsage:
    """Return the use of the key: it signs TLS handshakes, but no other certificate."""
    return x509.KeyUsage(
        digital_signature=True, content_commitment=False, key_encipherment=False, data_encipherment=False,
        key_agreement=False, key_cert_sign=False, crl_sign=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class CertificateProps(Props):
    names: tuple[str, ...]
    certificate: str = ""
    key: str = ""
    renew: str = ""

    def generate(self) -> dict[str, Any]:
        certificate, key = generate_self_signed(list(self.names))
        return self.to_props(certificate=certificate, key=key)


class GeneratedCertificateProvider(Provider):
    """Input: names. A changed list creates a new certificate, and so does the input `renew`, which `read` writes."""

    name = "certificate"
    outputs = OUTPUTS

    def check(self, olds: dict[str, Any], news: dict[str, Any]) -> CheckResult:
        if why := olds.get(RENEW):
            pulumi.log.warn(f"a new TLS certificate: {why}; clients that verify it need the new output `certificate`")
        return CheckResult(news, [])

    def create(self, props: dict[str, Any]) -> CreateResult:
        return CreateResult("certificate", CertificateProps.from_props(props).generate())

    def update(self, _id: str, _olds: dict[str, Any], _news: dict[str, Any]) -> UpdateResult:
        was, wanted = (CertificateProps.from_props(props) for props in (_olds, _news))
        if was.names == wanted.names and not was.renew:
            return UpdateResult(wanted.to_props(certificate=was.certificate, key=was.key))
        return UpdateResult(wanted.generate())

    @hide_tracebacks
    def read(self, id_: str, props: dict[str, Any]) -> ReadResult:
        deployed = CertificateProps.from_props(props)
        outs = deployed.inputs([RENEW])
        asked = os.environ.get(ASKED) == "1"
        if why := certificate_expiry.explain_renewal(deployed.certificate, certificate_expiry.utc_now(), asked=asked):
            outs[RENEW] = why
        return ReadResult(id_, outs, select_inputs(outs, OUTPUTS))


class GeneratedCertificate(DynamicResource, module="pgvector", name="GeneratedCertificate"):
    """`certificate` and `key`: str, PEM; the key is always a secret."""

    certificate: pulumi.Output[str]
    key: pulumi.Output[str]

    def __init__(self, name: str, names: list[str], opts: pulumi.ResourceOptions | None = None) -> None:
        options = pulumi.ResourceOptions.merge(pulumi.ResourceOptions(additional_secret_outputs=["key"]), opts)
        super().__init__(
            GeneratedCertificateProvider(), name, {"names": names, "certificate": None, "key": None}, options
        )

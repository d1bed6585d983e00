"""Decides when a TLS certificate is renewed. Pure; reads PEM text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

VALID = timedelta(days=730)  # of a certificate that `up` makes
NOTICE = timedelta(days=30)  # before it expires: `up` renews its own certificate, `doctor` warns of a configured one


def read_expiry(certificate: str) -> datetime:
    """Return when the (first) PEM certificate expires, in UTC. Raises ValueError for text that is no certificate."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def explain_renewal(certificate: str, now: datetime, *, asked: bool) -> str:
    """Return why the certificate is renewed; "" where it is kept.

    A ten-year certificate of an earlier version is kept until it is close to expiry or the user asks: clients trust it.
    """
    end = read_expiry(certificate)
    if asked:
        return f"asked for; the present one ends on {end:%Y-%m-%d}"
    return f"the present one ends on {end:%Y-%m-%d}" if end - now < NOTICE else ""


def describe_expiry(certificate: str, now: datetime, stack: str, *, made: bool) -> tuple[str, str]:
    """Return what `doctor` says about the certificate: (found, remedy). `made`: `up` made it, and renews it."""
    try:
        end = read_expiry(certificate)
    except ValueError:
        return "the certificate is no PEM text", "set pgvector:tlsCertificate and tlsKey again"
    remedy = f"pgstack up {stack}" if made else "set pgvector:tlsCertificate and tlsKey to the next one, then `up`"
    if end <= now:
        return f"ended on {end:%Y-%m-%d}: clients that verify it are refused", remedy
    if end - now < NOTICE:
        return f"ends on {end:%Y-%m-%d}, in {(end - now).days} days", remedy
    old = f"; a new one for two years:  pgstack up {stack} --rotate-certificate" if made and end - now > VALID else ""
    return f"good until {end:%Y-%m-%d}{old}", ""


def utc_now() -> datetime:
    return datetime.now(UTC)

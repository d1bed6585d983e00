"""How long a TLS certificate is good, and when the next one is made. Pure; reads PEM text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from cryptography import x509

VALID = timedelta(days=730)  # of a certificate that is made here
NOTICE = timedelta(days=30)  # before the end: an `up` makes the next one, `doctor` warns of one that was given


def ends(certificate: str) -> datetime:
    """The last moment of a PEM certificate (the first of several), in UTC. Raises ValueError for another text."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc


def renewal(certificate: str, now: datetime, *, asked: bool) -> str:
    """Why the next certificate is to be made, in words; "" where this one stays.

    A ten-year certificate of an earlier version stays until renewal is asked for or its end is near: clients trust it.
    """
    end = ends(certificate)
    if asked:
        return f"asked for; the present one ends on {end:%Y-%m-%d}"
    return f"the present one ends on {end:%Y-%m-%d}" if end - now < NOTICE else ""


def finding(certificate: str, now: datetime, stack: str, *, made: bool) -> tuple[str, str]:
    """What `doctor` says of it: (found, remedy). `made`: by `up`, which makes the next one, too."""
    try:
        end = ends(certificate)
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

"""TLS from files: what `serve` shows, and what the other commands trust.

- The key is held to the rules of the token file, and read from the very file that was looked at.
- A server found by its endpoint file is trusted by exactly the certificate it wrote there. What
  names and dates are in that does not matter: the file is private and locked by the server.
"""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import NoReturn

from .exits import usage_error
from .private import KEY_FILE, Kind, no_access, open_private

__all__ = ["context_for_certificate", "context_of_authority", "read_certificate", "server_context"]

CERTIFICATE_FILE = Kind("certificate file", "--tls-cert")
AUTHORITY_FILE = Kind("certificate file", "--tls-ca")

LIMIT = 1024 * 1024
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL (X509_VERIFY_PARAM_set_flags(3)), not named by Python."""

_BLOCK = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


# --- the server ----------------------------------------------------------------------------------


def read_certificate(path: Path) -> str:
    """The server's certificate, the first in this file, as PEM.

    Raises:
        CliError: the file cannot be read, or holds none.
    """
    found = _BLOCK.search(_read(path, CERTIFICATE_FILE))
    if found is None:
        raise usage_error(
            f"certificate file {path} holds no certificate in PEM "
            "(-----BEGIN CERTIFICATE-----); give another with --tls-cert"
        )
    return found[0] + "\n"


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """What a server needs to speak TLS, from 1.2 on.

    Raises:
        CliError: a file cannot be used; says which, and why.
    """
    read_certificate(certificate)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION  # nobody needs it, and it costs the server most
    try:
        descriptor = open_private(key, KEY_FILE)
    except OSError as exc:
        raise no_access("read", key, exc, KEY_FILE) from exc
    try:
        _load(context, certificate, key, descriptor)
    finally:
        os.close(descriptor)
    return context


def _load(context: ssl.SSLContext, certificate: Path, key: Path, descriptor: int) -> None:
    def refuse_encrypted() -> NoReturn:
        raise usage_error(
            f"key file {key} is encrypted, and nobody is there to be asked for its password; "
            f"decrypt it: (umask 077; openssl pkey -in {key} -out NEW), and give that"
        )

    try:
        context.load_cert_chain(certificate, f"/dev/fd/{descriptor}", password=refuse_encrypted)
    except ssl.SSLError as exc:
        if exc.reason == "KEY_VALUES_MISMATCH":
            raise usage_error(
                f"the key in {key} is not that of the first certificate in {certificate}; "
                "give a --tls-key and a --tls-cert that were made together"
            ) from None
        if _has_no_key(descriptor):
            raise usage_error(
                f"key file {key} holds no private key in PEM (-----BEGIN PRIVATE KEY-----); "
                "give another with --tls-key"
            ) from None
        raise usage_error(
            f"certificate {certificate} and key {key} cannot be used: {_reason(exc)}"
        ) from None
    except OSError as exc:
        raise no_access("read", certificate, exc, CERTIFICATE_FILE) from exc


def _has_no_key(descriptor: int) -> bool:
    return b"PRIVATE KEY-----" not in os.pread(descriptor, LIMIT, 0)


# --- the clients ---------------------------------------------------------------------------------


def context_of_authority(path: Path | None) -> ssl.SSLContext:
    """Trust what is signed by the certificates in this file; None: what the system trusts.

    Raises:
        CliError: the file cannot be read, or holds none.
    """
    if path is None:
        return ssl.create_default_context()
    text = _read(path, AUTHORITY_FILE)
    try:
        context = ssl.create_default_context(cadata="\n".join(_BLOCK.findall(text)) or "none")
        # The server's own certificate will do, too; the default only from Python 3.13 on.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        return context
    except (ssl.SSLError, ValueError):
        raise usage_error(
            f"certificate file {path} holds no certificate in PEM; give another with --tls-ca "
            "or TRIO_SUPERVISOR_CA"
        ) from None


def context_for_certificate(certificate: str) -> ssl.SSLContext:
    """Trust this certificate and nothing else.

    Raises:
        ValueError: it is none.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    # Also if it is not the root of anything, and has expired.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_flags |= NO_CHECK_TIME
    context.load_verify_locations(cadata=certificate)
    return context


# --- files ---------------------------------------------------------------------------------------


def _read(path: Path, kind: Kind) -> str:
    try:
        with open(path, "rb", opener=_open_not_blocking) as file:
            return file.read(LIMIT).decode("utf-8", "replace")
    except OSError as exc:
        raise no_access("read", path, exc, kind) from exc


def _open_not_blocking(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # the name may be that of a named pipe


def _reason(exc: ssl.SSLError) -> str:
    return str(exc.reason or exc.strerror or exc).lower().replace("_", " ")

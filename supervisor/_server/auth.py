"""Tokens: who may do what. Nobody gets in without one, loopback included."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable

import attrs

from .._errors import Forbidden
from .._methods import Scope

__all__ = ["ALL_SCOPES", "Auth", "Token"]

ALL_SCOPES = frozenset(Scope)


def _scopes(value: Iterable[str]) -> frozenset[Scope]:
    if isinstance(value, str):
        raise TypeError(f"scopes is a collection of words, not the single string {value!r}")
    return frozenset(map(Scope, value))


def _check_secret(_: object, __: object, secret: str) -> None:
    # It travels in a header, and has to come out as it went in.
    if not secret or not all("!" <= char <= "~" for char in secret):
        raise ValueError("a token's secret is one or more printable ASCII characters, no spaces")


@attrs.frozen
class Token:
    """A name, the secret that proves it, and what it may do.

    Args:
        name: goes on record as the requester of what is done with it.
        secret: what the client says; never shown.
        scopes: see `Scope`; all by default.
    """

    name: str
    secret: str = attrs.field(repr=False, validator=_check_secret)
    scopes: frozenset[Scope] = attrs.field(default=ALL_SCOPES, converter=_scopes)

    def require(self, scope: Scope, method: str) -> None:
        """Do nothing if the token has this scope.

        Raises:
            Forbidden: it has not.
        """
        if scope not in self.scopes:
            has = ", ".join(sorted(self.scopes)) or "no scope"
            raise Forbidden(
                f"{method} needs the scope {scope.value!r}; token {self.name!r} has {has}",
                scope=scope.value,
            )


class Auth:
    """The tokens that a server knows."""

    @classmethod
    def of(cls, auth: Auth | Token) -> Auth:
        """The tokens, or the only one.

        Raises:
            TypeError: it is neither.
        """
        if isinstance(auth, Token):
            return cls([auth])
        if not isinstance(auth, Auth):
            raise TypeError(
                "auth is a supervisor.Token(name, secret), or an Auth of several, not "
                f"{type(auth).__name__}"
            )
        return auth

    def __init__(self, tokens: Iterable[Token]) -> None:
        tokens = tuple(tokens)
        if not all(isinstance(token, Token) for token in tokens):
            raise TypeError("tokens are made by supervisor.Token(name, secret)")
        self._tokens = tuple((_digest(token.secret), token) for token in tokens)
        if not self._tokens:
            raise ValueError("a server without any token can never be used; give it one")
        if len({digest for digest, _ in self._tokens}) < len(self._tokens):
            raise ValueError("two tokens have the same secret")

    def __repr__(self) -> str:
        return f"<Auth of {', '.join(token.name for _, token in self._tokens)}>"

    def find(self, secret: str) -> Token | None:
        """The token with this secret.

        Takes the same time whatever is wrong with the secret: digests are of one length, and all
        of them are compared.
        """
        given = _digest(secret)
        found = None
        for digest, token in self._tokens:
            if hmac.compare_digest(digest, given):
                found = token
        return found


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).digest()

"""Errors that fairseq2 names."""

from __future__ import annotations


class UsageError(Exception):
    """Never raised here."""


class CommError(Exception):
    """Never raised here."""


class AuthenticationError(Exception):
    """Never raised here."""

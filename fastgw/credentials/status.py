"""What is known of a credential: for diagnostics, the admin API and the metrics. Holds nothing secret."""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec


class Certificate(msgspec.Struct, frozen=True):
    """What is looked at of a certificate. ``names``: lower case, the DNS names and addresses it is for. ``serial``: hexadecimal."""

    begins: datetime
    ends: datetime
    names: frozenset[str] = frozenset()
    serial: str = ""

    def is_valid(self, now: datetime | None = None) -> bool:
        return self.begins <= (now or datetime.now(UTC)) <= self.ends


class Facts(msgspec.Struct, frozen=True):
    """Of a usable credential: its certificate and its first CA. ``notes``: what is usable, but hardly meant, and never changes.

    ``crl_until``: when the first of its lists of revoked certificates is out of date.
    """

    certificate: Certificate | None = None
    ca: Certificate | None = None
    notes: tuple[str, ...] = ()
    crl_until: datetime | None = None

    def first_end(self) -> datetime | None:
        """When the first of its certificates expires."""
        return min((each.ends for each in (self.certificate, self.ca) if each is not None), default=None)


class Status(msgspec.Struct, frozen=True):
    """``problem``: why what is there now cannot be used, "" when it can. ``held``: what was there before is used instead.

    ``need``: the parts in use (names.Need). ``facts``: of what is used; None when nothing is. ``missing``: there is nothing at all
    of that name.
    """

    name: str
    need: int
    problem: str = ""
    missing: bool = False
    held: bool = False
    facts: Facts | None = None

    @property
    def usable(self) -> bool:
        """Whether workers have it."""
        return self.facts is not None

    def trouble(self) -> str:
        """The problem and what it means for who is served, "" when there is none."""
        return f"{self.problem}; its content of before stays in use" if self.held else self.problem

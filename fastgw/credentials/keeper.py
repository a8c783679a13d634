"""Which credentials can be used, generation after generation: good content stays in use while what follows it is bad.

Each credential stands alone. One that is missing or unusable is not handed to workers, so that the handshakes of its hosts fail
and those of others do not. One that was good and is bad now (half-written, a key that does not fit yet, removed) is served as it
was, and its status says so; it heals with the first look after it was mended.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from fastgw.credentials.content import Content, CredentialError
from fastgw.credentials.names import Need
from fastgw.credentials.pem import examine
from fastgw.credentials.places import Places
from fastgw.credentials.status import Facts, Status


class _Entry(msgspec.Struct):
    """The last good content, and the content that was found bad last."""

    content: Content
    facts: Facts


class Keeper:
    """What is known of each credential. Checks content again only when it has changed."""

    def __init__(self, places: Places) -> None:
        self.places = places
        self._good: dict[tuple[str, Need], _Entry] = {}
        self._bad: dict[tuple[str, Need], tuple[Content, str]] = {}
        self._from_before: Mapping[str, Content] = {}
        self._statuses: dict[tuple[str, Need], Status] = {}
        self.checks = 0
        """How often content was examined since the start: what a look really cost."""

    def restore(self, contents: Mapping[str, Content]) -> None:
        """What is served already, of a predecessor: good content that may have become bad since."""
        self._from_before = contents

    def status(self, name: str, need: Need) -> Status:
        """As of the last look at all; one that was not among them is looked at now."""
        known = self._statuses.get((name, need))
        return known if known is not None else self.look(name, need)

    def look(self, name: str, need: Need) -> Status:
        """Reads the credential as it is now."""
        key = (name, need)
        good = self._good.get(key) or self._restored(key)
        try:
            content = self.places.read(name, need)
            facts = self._facts(key, content, good)
        except CredentialError as error:
            held = good is not None
            return Status(name, need, str(error), error.missing, held, good.facts if good is not None else None)
        if good is None or good.content is not content:
            self._good[key] = _Entry(content, facts)
        return Status(name, need, facts=facts)

    def collect(self, needs: Mapping[str, Need]) -> tuple[dict[str, Content], list[Status]]:
        """The contents that can be used and the state of all, in the order of ``needs``. What is not needed is forgotten."""
        statuses = [self.look(name, need) for name, need in needs.items()]
        self._statuses = {(status.name, Need(status.need)): status for status in statuses}
        for known in (self._good, self._bad):
            for name, need in [key for key in known if needs.get(key[0]) != key[1]]:
                del known[name, need]
        self.places.finish()
        self._from_before = {}
        return {name: self._good[name, need].content for name, need in needs.items() if (name, need) in self._good}, statuses

    def _restored(self, key: tuple[str, Need]) -> _Entry | None:
        content = self._from_before.get(key[0])
        if content is None or not content.has(key[1]):
            return None
        self._good[key] = entry = _Entry(content, examine(content))
        return entry

    def _facts(self, key: tuple[str, Need], content: Content, good: _Entry | None) -> Facts:
        if good is not None and good.content == content:
            return good.facts
        bad = self._bad.get(key)
        if bad is not None and bad[0] == content:
            raise CredentialError(bad[1])
        self.checks += 1
        try:
            facts = examine(content)
        except CredentialError as error:
            self._bad[key] = (content, str(error))
            raise
        self._bad.pop(key, None)
        return facts

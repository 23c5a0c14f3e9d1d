"""What was set for each lease: the news of one lease then ask for no look at all the others.

Nor does what somebody else does to one of them.  Pure.  Where many Nodes start at once every one of them hears of every other; to look at the
whole kernel each time would be quadratic.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

from podnet_manager import reconcile
from podnet_manager.desired import Entry
from podnet_manager.lease import Subnets
from podnet_manager.reconcile import Difference

_Entries = Mapping[Subnets, Iterable[Entry]]


class Placed:
    """The entries of each lease, as the kernel holds them."""

    def __init__(self, entries: _Entries) -> None:
        self._of = {subnets: frozenset(found) for subnets, found in entries.items()}
        self._users = Counter(entry for found in self._of.values() for entry in found)
        self._by_key: dict[object, list[Entry]] | None = None

    def every(self) -> set[Entry]:
        """Return the entries of all leases."""
        return set(self._users)

    def mend(
        self, there: Iterable[Entry], gone: Iterable[Entry], devices: Collection[int]
    ) -> Difference:
        """Return what undoes the work of somebody else.

        Args:
            there: What he has set.
            gone: What he has removed.
            devices: The links on which everything is ours.
        """
        strange = [entry for entry in there if not self._users[entry]]
        harmed = [self._there_of(entry) for entry in (*strange, *gone)]
        remove = [entry for entry in strange if self._must_go(entry, devices)]
        return Difference(frozenset(remove), frozenset(filter(None, harmed)))

    def _must_go(self, entry: Entry, devices: Collection[int]) -> bool:
        """Tell whether a strange entry is to be removed; what has taken ours' place is overwritten."""
        if self._there_of(entry):
            return reconcile.is_beside(entry)
        return reconcile.is_ours(entry, devices) or reconcile.rival(entry) in self._keyed()

    def _there_of(self, entry: Entry) -> Entry | None:
        """Return what should be where *entry* is; of several, what came last."""
        return next(reversed(self._keyed().get(reconcile.key(entry), ())), None)

    def _keyed(self) -> dict[object, list[Entry]]:
        """Return the entries by what the kernel keeps one of; made when it is first asked for."""
        if self._by_key is None:
            self._by_key = {}
            for entry in self._users:
                self._by_key.setdefault(reconcile.key(entry), []).append(entry)
        return self._by_key

    def replace(self, entries: _Entries) -> Difference:
        """Take the new entries of some leases; return what makes the kernel hold them.

        What another lease needs, too, is not removed; and what one needed in the place of what
        is removed comes back.
        """
        old = self._forget(entries)
        new = set[Entry]()
        for subnets, found in entries.items():
            self._of[subnets] = frozenset(found)
            new |= self._of[subnets]
        keyed = self._keyed()
        for entry in new:
            if not self._users[entry] and entry not in old:
                keyed.setdefault(reconcile.key(entry), []).append(entry)
        self._users.update(entry for subnets in entries for entry in self._of[subnets])
        gone = [entry for entry in old if not self._users[entry]]
        for entry in gone:
            del self._users[entry]
            keyed[reconcile.key(entry)].remove(entry)
        change = reconcile.difference(new, old)
        returns = [there for entry in gone if (there := self._there_of(entry))]
        removed = (entry for entry in gone if not self._there_of(entry))
        return Difference(frozenset(removed), change.put | frozenset(returns))

    def _forget(self, entries: _Entries) -> set[Entry]:
        """Count the entries of some leases no more; return them."""
        old = set[Entry]()
        for subnets in entries:
            found = self._of.pop(subnets, frozenset())
            old |= found
            self._users.subtract(found)
        return old

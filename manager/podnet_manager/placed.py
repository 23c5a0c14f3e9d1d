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
        self._of = dict[Subnets, frozenset[Entry]]()
        self._users = Counter[Entry]()
        self._by_key: dict[object, Entry] | None = None
        self.replace(entries)

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
        remove = [
            entry
            for entry in strange
            if not self._there_of(entry) and reconcile.is_ours(entry, devices)
        ]
        return Difference(frozenset(remove), frozenset(filter(None, harmed)))

    def _there_of(self, entry: Entry) -> Entry | None:
        """Return what should be where *entry* is."""
        if self._by_key is None:
            self._by_key = {reconcile.key(one): one for one in self._users}
        return self._by_key.get(reconcile.key(entry))

    def replace(self, entries: _Entries) -> Difference:
        """Take the new entries of some leases; return what makes the kernel hold them.

        What another lease needs, too, is not removed.
        """
        self._by_key = None
        old = set[Entry]()
        for subnets in entries:
            for entry in self._of.pop(subnets, ()):
                old.add(entry)
                self._users[entry] -= 1
        new = set[Entry]()
        for subnets, found in entries.items():
            self._of[subnets] = frozenset(found)
            new |= self._of[subnets]
            self._users.update(self._of[subnets])
        change = reconcile.difference(new, old)
        gone = frozenset(entry for entry in change.remove if not self._users[entry])
        for entry in old:
            if not self._users[entry]:
                del self._users[entry]
        return Difference(gone, change.put)

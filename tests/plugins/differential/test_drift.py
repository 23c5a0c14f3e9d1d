"""CHECK notices each thing that ADD made and that is gone or changed, and says which.

Nobody lists what a plugin makes: the picture does.  What CHECK overlooks is said in the table
with its reason, and must be overlooked.
"""

import importlib
import json
import os
import re
from fnmatch import fnmatchcase
from typing import Any
from unittest.mock import patch

import pytest
from tests.plugins.conftest import OURS, Answer
from tests.plugins.differential.differences import between
from tests.plugins.differential.drift import Drift, drifts
from tests.plugins.differential.drift_cases import DRIFTING
from tests.plugins.differential.lives import Case, Side
from tests.plugins.differential.snapshot import POD

from podnet.cni.errors import CniError
from podnet_plugins import skel


class Quick(Side):
    """Ours, without a process for each call: it is not what is tested here."""

    def _call(self, verb: str, plugin: Any, result: Any, **more: Any) -> Any:
        if self.maker != OURS or more:
            return super()._call(verb, plugin, result, **more)
        module = importlib.import_module(f"podnet_plugins.{plugin['type'].replace('-', '_')}")
        config = {"cniVersion": self.case.version, "name": "demo", **plugin}
        config |= {"prevResult": result} if result is not None else {}
        environment = {
            "CNI_COMMAND": verb,
            "CNI_CONTAINERID": "c1",
            "CNI_NETNS": POD,
            "CNI_IFNAME": "eth0",
            "CNI_PATH": str(OURS),
        }
        stdin = json.dumps(config).encode()
        with patch.dict(os.environ, environment):
            try:
                said = self.host.node.run(skel.respond, module.PLUGIN, environment, lambda: stdin)
            except CniError as exc:
                return Answer(1, json.dumps({"code": exc.code, "msg": exc.msg}), "")
        return Answer(0, json.dumps(said) if said else "", "")

    def noticed(self, drift: Drift) -> str:
        """Do it, and return what CHECK says; then all is as it was."""
        self.host.sh(drift.script, netns=POD if drift.inside else "")
        [answer] = self.check()
        self.delete(netns=POD)
        self.host.sh("rm -rf /var/lib/cni")
        self.renew()
        [added] = self.add()
        assert added.status == 0, added
        return str(answer.error["msg"]) if answer.status else ""


@pytest.mark.parametrize(("case", "overlooked"), DRIFTING, ids=[case.name for case, _ in DRIFTING])
def test_check_notices_each_thing_that_is_gone_or_changed(
    host: Any, debian_plugins: str, case: Case, overlooked: dict[str, str]
) -> None:
    side = Quick(host, case, debian_plugins)
    side.maker = OURS
    before = side.picture()
    side.add()
    made = list(drifts(between(side.picture(), before)))
    wrong, seen = [], set()
    for drift in made:
        said = side.noticed(drift)
        reasons = {pattern for pattern in overlooked if fnmatchcase(drift.name, pattern)}
        seen |= reasons
        if bool(said) == bool(reasons) or (said and not re.search(drift.word, said)):
            wrong.append(f"{drift.name}: {drift.script}: {said or 'not noticed'} {drift.word}")
    assert made
    assert not wrong, "\n".join(wrong)
    assert seen == set(overlooked)

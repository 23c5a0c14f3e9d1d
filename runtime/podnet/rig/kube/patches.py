"""What a patch makes of an object (pure): RFC 7386's, Kubernetes' strategic one, RFC 6902's.

Knows no schema: the members of a list are told apart by what most of them have.
"""

import copy
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from podnet.rig.kube.objects import (
    KubeError,
    Object,
)

#: How a strategic merge patch knows the members of a list, in this order.
_MERGE_KEYS = ("name", "type", "ip", "uid")


def patched(old: Object, kind: str, change: Any) -> Object:
    """Return *old* with a patch: RFC 7386's, Kubernetes' strategic one, or RFC 6902's.

    Raises:
        KubeError: It makes no sense, or is of another kind.
    """
    match kind.partition(";")[0].strip():
        case "application/merge-patch+json":
            return dict(_merged(old, change, strategic=False))
        case "application/strategic-merge-patch+json":
            return dict(_merged(old, change, strategic=True))
        case "application/json-patch+json":
            made = copy.deepcopy(old)
            for step in change:
                _apply(made, step)
            return made
        case _:
            raise KubeError(
                HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "UnsupportedMediaType", f"no patch: {kind}"
            )


def _merged(old: Any, change: Any, *, strategic: bool) -> Any:
    if isinstance(change, dict):
        base = dict(old) if isinstance(old, dict) else {}
        for key, value in change.items():
            if value is None:
                base.pop(key, None)
            else:
                base[key] = _merged(base.get(key), value, strategic=strategic)
        return base
    if strategic and isinstance(change, list) and isinstance(old, list):
        return _merged_list(old, change)
    return copy.deepcopy(change)


def _merged_list(old: Sequence[Any], change: Sequence[Any]) -> list[Any]:
    both = [*old, *change]
    key = next(
        (k for k in _MERGE_KEYS if all(isinstance(one, dict) and k in one for one in both)), None
    )
    if key is None:
        return list(change)
    members = {one[key]: one for one in old}
    for one in change:
        members[one[key]] = _merged(members.get(one[key]), one, strategic=True)
    return list(members.values())


def _apply(made: Object, step: Mapping[str, Any]) -> None:
    """Apply one operation of RFC 6902."""
    *path, last = [p.replace("~1", "/").replace("~0", "~") for p in step["path"].split("/")[1:]]
    try:
        target: Any = made
        for part in path:
            target = target[int(part) if isinstance(target, list) else part]
        if isinstance(target, list):
            _apply_at(target, len(target) if last == "-" else int(last), step)
        else:
            _apply_at(target, last, step)
    except (KeyError, IndexError, ValueError, TypeError) as exc:
        raise _unfit(f"the patch does not fit: {step}") from exc


def _apply_at(target: Any, place: Any, step: Mapping[str, Any]) -> None:
    operation = step["op"]
    if operation == "add" and isinstance(target, list):
        target.insert(place, step["value"])
        return
    there = None if operation == "add" else target[place]
    if operation == "remove":
        del target[place]
    elif operation in {"add", "replace"}:
        target[place] = step["value"]
    elif operation != "test" or there != step["value"]:
        raise _unfit(f"the patch says no: {step}")


def _unfit(message: str) -> KubeError:
    return KubeError(HTTPStatus.UNPROCESSABLE_ENTITY, "Invalid", message)

"""All cases, in the order in which they are listed."""

from types import ModuleType

from podnet.rig.conformance import (
    cases_chain,
    cases_check,
    cases_config,
    cases_delegation,
    cases_delete,
    cases_disk,
    cases_environment,
    cases_gc_status,
    cases_result,
    cases_robustness,
    cases_spoilt,
    cases_version,
)
from podnet.rig.conformance.case import Case, declared_in

_ROOMS: tuple[ModuleType, ...] = (
    cases_version,
    cases_environment,
    cases_config,
    cases_result,
    cases_check,
    cases_delete,
    cases_disk,
    cases_gc_status,
    cases_chain,
    cases_delegation,
    cases_robustness,
    cases_spoilt,
)


def all_cases() -> tuple[Case, ...]:
    """Return every case."""
    return tuple(case for room in _ROOMS for case in declared_in(room.__name__))

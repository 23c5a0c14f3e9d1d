"""docs/manager.md names a test for each complaint, and there are these tests."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT.parent / "docs" / "manager.md"


def rows() -> dict[int, list[str]]:
    """Return the complaints by number, as cells."""
    lines = PAGE.read_text().split("## What users of flannel complain of")[1].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {int(row[0]): row for row in cells if row[0].isdigit()}


def test_every_complaint_has_its_tests_or_is_not_ours() -> None:
    assert [*rows()] == list(range(1, 21))
    for number, (_, _, here, tests) in rows().items():
        assert re.findall(r"`test_\w+`", tests) or here.startswith("not ours"), number


def test_every_test_that_is_named_exists() -> None:
    sources = [*(ROOT / "manager").glob("test_*.py"), *(ROOT / "plugins").glob("test_*.py")]
    there = {
        name
        for s in sources
        for name in re.findall(r"^def (test_\w+)", s.read_text(), re.MULTILINE)
    }
    named = set(re.findall(r"`(test_\w+)`", PAGE.read_text()))

    assert named - there == set()
    complaints = (ROOT / "manager" / "test_complaints.py").read_text()
    assert len(named & set(re.findall(r"^def (test_\w+)", complaints, re.MULTILINE))) >= 15

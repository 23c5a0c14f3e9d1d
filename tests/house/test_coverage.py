"""Pure code has no excuse: every branch of the spec and of the plan is tested."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
PURE = "runtime/podnet/cni/*,runtime/podnet/plan.py"


def test_every_branch_of_the_pure_rooms_is_run(tmp_path: Path) -> None:
    settings = tmp_path / "coverage.toml"
    settings.write_text(
        "[tool.coverage.run]\nbranch = true\n"
        f'data_file = "{tmp_path}/data"\nsource = ["runtime/podnet"]\n'
        '[tool.coverage.report]\nexclude_also = ["if TYPE_CHECKING:"]\n'
    )
    tests = ["tests/spec", "tests/runtime/test_plan.py"]
    coverage = [sys.executable, "-m", "coverage"]

    ran = subprocess.run(
        [*coverage, "run", f"--rcfile={settings}", "-m", "pytest", "-q", *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    report = subprocess.run(
        [
            *coverage,
            "report",
            f"--rcfile={settings}",
            f"--include={PURE}",
            "-m",
            "--fail-under=100",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ran.returncode == 0, ran.stdout
    assert report.returncode == 0, report.stdout

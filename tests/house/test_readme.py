"""What the README shows is what there is."""

from pathlib import Path

from podnet import scaffold

ROOT = Path(__file__).parent.parent.parent


def test_the_readme_s_plugin_is_the_one_that_podnet_writes() -> None:
    made = scaffold.files("service-ip", "/usr/bin/env python3")

    assert f"```python\n{made['service-ip']}```" in (ROOT / "README.md").read_text()

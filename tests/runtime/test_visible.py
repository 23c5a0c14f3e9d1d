"""What plugins say reaches a terminal as text, and nothing of it as an order."""

import pytest
import yaml

from podnet.cli import failures, output
from podnet.cli.output import Form
from podnet.errors import PodnetError
from podnet.visible import visible


def test_what_would_steer_a_terminal_is_spelled_out():
    assert visible("a\x1b[2Jb\u202ec\n") == "a\\x1b[2Jb\\u202ec\\n"
    assert visible("é └ 日\n", keep="\n") == "é └ 日\n"


def test_a_failure_a_note_and_a_table_show_it_like_that(capsys):
    failures.report(PodnetError("\x1b[31mred", "\u202ehint"))
    failures.note("\x9bnoted")
    output.show(
        [{"name": "\x1b]0;title\x07"}],
        kind="X",
        form=Form.TABLE,
        columns={"N": lambda i: i["name"]},
    )
    said = capsys.readouterr()
    assert said.err == "error: \\x1b[31mred\n  \\u202ehint\npodnet: \\x9bnoted\n"
    assert said.out == "N\n\\x1b]0;title\\x07\n"


@pytest.mark.parametrize("text", ["\u202eback", "é"])
def test_yaml_reads_back_as_it_was(capsys, text):
    output.document({"said": text}, form=Form.YAML)
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == {"said": text}
    assert visible(printed, keep="\n") == printed

"""A directory of configuration files: which count, in which order, and what a bad one does."""

import json
from pathlib import Path

import pytest

from podnet import confdir
from podnet.confdir import BadFileError
from podnet.errors import UsageError

BOM = b"\xef\xbb\xbf"


def conflist(name: str = "demo", *types: str, **keys: object) -> bytes:
    """Write a conflist of plugins of *types*, good but for *keys*; ``...`` leaves a key out."""
    plugins = [{"type": kind} for kind in types or ("bridge",)]
    listed = {"cniVersion": "1.0.0", "name": name, "plugins": plugins} | keys
    return json.dumps({key: value for key, value in listed.items() if value != ...}).encode()


def conf(name: str = "demo", **keys: object) -> bytes:
    """Write a single plugin's configuration, good but for *keys*."""
    return json.dumps({"cniVersion": "0.4.0", "name": name, "type": "ptp"} | keys).encode()


def put(directory: Path, **content: bytes) -> None:
    """Write files; a name's last underscore is its last dot: ``a_conflist``."""
    for name, text in content.items():
        stem, _, extension = name.rpartition("_")
        (directory / f"{stem}.{extension}").write_bytes(text)


def refusal(path: Path) -> BadFileError:
    """Return why *path* cannot be used."""
    with pytest.raises(BadFileError) as caught:
        confdir.load(path)
    return caught.value


# --- scanning


def test_files_are_read_in_the_byte_order_of_their_names(tmp_path):
    """Trap 15: one merged order, as the runtimes have it; 9- comes after 10-, and Z before a."""
    put(
        tmp_path,
        **{
            "9-x_conflist": conflist("nine"),
            "10-x_conf": conf("ten"),
            "a_json": conf("a"),
            "Z_conflist": conflist("z"),
        },
    )

    directory = confdir.scan(tmp_path)

    assert [f.network.name for f in directory.found] == ["ten", "nine", "z", "a"]
    assert directory.default().network.name == "ten"
    assert directory.default().path == tmp_path / "10-x.conf"


def test_a_missing_directory_is_an_empty_one(tmp_path):
    """From libcni conf_test: dir missing, NoConfigsFound."""
    directory = confdir.scan(tmp_path / "nowhere")

    assert (directory.found, directory.bad, directory.shadowed) == ((), (), ())
    with pytest.raises(UsageError) as caught:
        directory.default()
    assert caught.value.message == f"no network configurations found in {tmp_path / 'nowhere'}"
    assert caught.value.exit_code == 2


def test_a_directory_that_is_a_file_is_an_error(tmp_path):
    put(tmp_path, a_conflist=conflist())

    with pytest.raises(UsageError, match="Not a directory"):
        confdir.scan(tmp_path / "a.conflist")


def test_other_files_and_directories_do_not_count(tmp_path):
    """From libcni conf_test: nested directories are not searched."""
    for name in ("a.CONFLIST", "b.conflist.bak", "c.txt", "conflist", "d.yaml"):
        (tmp_path / name).write_bytes(b"junk")
    (tmp_path / "e.conflist").mkdir()
    (tmp_path / "nested").mkdir()
    put(tmp_path / "nested", f_conflist=conflist("nested"))

    directory = confdir.scan(tmp_path)

    assert (directory.found, directory.bad) == ((), ())


def test_an_extension_starts_at_the_last_dot_also_where_that_is_the_first(tmp_path):
    """From libcni: filepath.Ext; a file literally named .conflist is accepted."""
    (tmp_path / ".conflist").write_bytes(conflist("hidden"))
    (tmp_path / "a.b.conflist").write_bytes(conflist("dots"))

    assert [f.network.name for f in confdir.scan(tmp_path).found] == ["hidden", "dots"]


def test_a_bad_file_does_not_hide_the_good_ones(tmp_path):
    """From libcni conf_test: malformed; Trap 15: one bad earlier file aborts cnitool."""
    put(
        tmp_path,
        **{
            "00-bad_conflist": b"{",
            "10-good_conflist": conflist("good"),
            "20-bad_conf": b'{"name": "x"}',
        },
    )

    directory = confdir.scan(tmp_path)

    assert [f.network.name for f in directory.found] == ["good"]
    assert [b.path.name for b in directory.bad] == ["00-bad.conflist", "20-bad.conf"]
    assert directory.default().network.name == directory.named("good").network.name == "good"


def test_the_first_file_of_a_name_wins_and_the_others_are_told(tmp_path):
    put(
        tmp_path,
        a_conflist=conflist("demo", "first"),
        b_conflist=conflist("demo", "second"),
        c_conflist=conflist("other"),
    )

    directory = confdir.scan(tmp_path)

    assert [f.path.name for f in directory.found] == ["a.conflist", "c.conflist"]
    assert [f.path.name for f in directory.shadowed] == ["b.conflist"]
    assert directory.named("demo").network.plugins[0].type == "first"


def test_by_name_a_list_comes_before_a_single_file(tmp_path):
    """From libcni conf_test: list before .conf even if 49- < 50-; Trap 15."""
    put(tmp_path, **{"49-x_conf": conf("demo"), "50-x_conflist": conflist("demo", "listed")})

    directory = confdir.scan(tmp_path)

    assert directory.named("demo").path.name == "50-x.conflist"
    assert directory.default().path.name == "49-x.conf"


@pytest.mark.parametrize("extension", ["conf", "json"])
def test_a_single_file_is_a_chain_of_one(tmp_path, extension):
    """From libcni conf_test: falls back to conf and .json; upconvert conf to list."""
    source = conf("demo", disableCheck=True)
    (tmp_path / f"a.{extension}").write_bytes(source)

    network = confdir.scan(tmp_path).named("demo").network

    assert [p.type for p in network.plugins] == ["ptp"]
    assert network.source == source
    assert not network.disable_check, "a list's flag has no meaning in it (Trap 15)"


def test_a_name_that_is_not_there_is_told_with_those_that_are(tmp_path):
    """From libcni conf_test: NotFound, no match."""
    put(tmp_path, a_conflist=conflist("one"), b_conflist=conflist("two"), c_conflist=b"{")

    with pytest.raises(UsageError) as caught:
        confdir.scan(tmp_path).named("three")

    assert caught.value.message == f'no network configuration with name "three" in {tmp_path}'
    assert "there are: one, two" in caught.value.hint
    assert f"unusable: {tmp_path / 'c.conflist'}" in caught.value.hint


# --- one file


def test_a_list_keeps_its_bytes_and_its_plugins_as_they_are(tmp_path):
    """From libcni conf_test: LoadNetworkConf find, original list bytes."""
    source = b'{"name":"demo", "plugins":[{"type":"a","x":[1.0,"y"]}],\n "unknown":{}}\n'
    put(tmp_path, a_conflist=source)

    network = confdir.load(tmp_path / "a.conflist")

    assert network.source == source
    assert network.plugins[0].config == {"type": "a", "x": [1.0, "y"]}


def test_a_file_that_cannot_be_read_is_a_bad_file(tmp_path):
    """From libcni conf_test: ConfFromFile unreadable."""
    error = refusal(tmp_path / "nosuch.conflist")

    assert error.reason == "cannot be read: No such file or directory"
    assert error.message == f"{tmp_path / 'nosuch.conflist'}: {error.reason}"


def test_links_are_followed_and_a_link_to_nothing_or_to_a_directory_is_bad(tmp_path):
    """From libcni: a symlink to a directory is a hard error there; here it hides nobody."""
    put(tmp_path, real_txt=conflist("real"))
    (tmp_path / "a.conflist").symlink_to("real.txt")
    (tmp_path / "b.conflist").symlink_to("nowhere")
    (tmp_path / "dir").mkdir()
    (tmp_path / "c.conflist").symlink_to("dir")

    directory = confdir.scan(tmp_path)

    assert [f.path.name for f in directory.found] == ["a.conflist"]
    assert [(b.path.name, b.reason) for b in directory.bad] == [
        ("b.conflist", "cannot be read: No such file or directory"),
        ("c.conflist", "cannot be read: Is a directory"),
    ]


@pytest.mark.parametrize("name", ["a.conflist", "a.conf", "demo/a.conf"])
def test_broken_json_is_told_with_line_and_column(tmp_path, name):
    """From libcni conf_test: malformed text."""
    put(tmp_path, z_conflist=conflist("demo"))
    (tmp_path / "demo").mkdir()
    (tmp_path / name).write_bytes(b'{"name": "x",\n  "type": oops}')

    error = refusal(tmp_path / ("z.conflist" if name.startswith("demo") else name))

    assert error.path == tmp_path / name
    assert (error.line, error.column) == (2, 11)
    assert "at line 2 column 11" in error.reason


def test_a_byte_order_mark_is_told_with_line_and_column(tmp_path):
    """Trap 2: BOM."""
    put(tmp_path, a_conflist=BOM + conflist())

    error = refusal(tmp_path / "a.conflist")

    assert "byte order mark" in error.reason
    assert (error.line, error.column) == (1, 1)


def test_bytes_that_are_not_utf8_are_told_with_line_and_column(tmp_path):
    put(tmp_path, a_conflist=b'{\n"name": "\xff"}')

    error = refusal(tmp_path / "a.conflist")

    assert (error.line, error.column) == (2, 10)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (conflist(name=""), "missing network name"),
        (conflist(name="../e"), "invalid characters found in network name"),
        (conflist(name="a\n"), "invalid characters found in network name"),
        (conflist(plugins=[]), "no plugins in list"),
        (conflist(plugins={}), "plugins must be a list"),
        (conflist(plugins=[{}]), "plugins[0].type is missing"),
        (conflist(plugins=[{"type": "../x"}]), "invalid plugin name"),
        (conflist(disableCheck="maybe"), "disableCheck must be true or false"),
        (conflist(loadOnlyInlinedPlugins=1), "loadOnlyInlinedPlugins must be true or false"),
        (conflist(cniVersion="9.9.9"), "unknown cniVersion 9.9.9"),
        (conflist(cniVersions=["1.0.0", "x"]), "invalid cniVersion"),
        (conflist(plugins=...), "no plugin configs found"),
        (conflist(plugins=..., loadOnlyInlinedPlugins=True), "no 'plugins' key"),
        (b"", "it is empty"),
        (b"[]", "must be an object"),
    ],
)
def test_a_list_that_breaks_a_rule_is_a_bad_file(tmp_path, source, said):
    """From libcni conf_test: loadOnlyInlined bad, missing plugins, version invalid; Traps 12, 17."""
    put(tmp_path, a_conflist=source)

    assert said in refusal(tmp_path / "a.conflist").reason


def test_a_list_in_a_single_file_is_told_what_to_be_called(tmp_path):
    """From libcni: a conflist saved as .conf is 'missing type'."""
    put(tmp_path, **{"10-a_conf": conflist()})

    error = refusal(tmp_path / "10-a.conf")

    assert error.reason == "missing 'type'; this is a list of plugins: call it 10-a.conflist"


def test_a_single_file_without_a_type_is_a_bad_file(tmp_path):
    """From libcni conf_test: ConfFromFile missing type."""
    put(tmp_path, a_conf=b'{"name":"demo"}')

    assert "type is missing" in refusal(tmp_path / "a.conf").reason


# --- sibling plugins


@pytest.fixture
def siblings(tmp_path: Path) -> Path:
    """The directory of demo's sibling plugins."""
    directory = tmp_path / "demo"
    directory.mkdir()
    return directory


def types(tmp_path: Path) -> list[str]:
    """Return the types of the chain in a.conflist."""
    return [plugin.type for plugin in confdir.load(tmp_path / "a.conflist").plugins]


def test_sibling_plugins_are_appended_in_the_order_of_their_names(tmp_path, siblings):
    """From libcni conf_test: loadOnlyInlined false merges; Trap 16."""
    put(tmp_path, a_conflist=conflist("demo", "inlined"))
    put(
        siblings,
        **{
            "9-b_conf": b'{"type":"nine"}',
            "10-a_conf": b'{"type":"ten","x":1}',
            "z_conflist": b"junk",
            "z_json": b"junk",
        },
    )
    (siblings / ".conf").write_bytes(b'{"type":"hidden"}')
    (siblings / "dir.conf").mkdir()

    assert types(tmp_path) == ["inlined", "hidden", "ten", "nine"]


def test_the_chain_may_be_in_sibling_files_only(tmp_path, siblings):
    """From libcni conf_test: no plugins key, siblings only."""
    put(tmp_path, a_conflist=conflist("demo", plugins=...))
    put(siblings, a_conf=b'{"type":"alone"}')

    assert types(tmp_path) == ["alone"]


@pytest.mark.parametrize("flag", [True, "true", "TRUE"], ids=repr)
def test_sibling_plugins_can_be_declined(tmp_path, siblings, flag):
    """From libcni conf_test: loadOnlyInlinedPlugins ignores siblings; Trap 15: strings count."""
    put(tmp_path, a_conflist=conflist("demo", "inlined", loadOnlyInlinedPlugins=flag))
    put(siblings, a_conf=b"junk")

    assert types(tmp_path) == ["inlined"]


def test_a_single_file_has_no_siblings(tmp_path, siblings):
    put(tmp_path, a_conf=conf("demo"))
    put(siblings, a_conf=b'{"type":"other"}')

    assert [p.type for p in confdir.load(tmp_path / "a.conf").plugins] == ["ptp"]


def test_an_empty_sibling_directory_adds_nothing(tmp_path, siblings):
    """From libcni conf_test: sibling directory missing or empty."""
    put(tmp_path, a_conflist=conflist("demo", "inlined"))

    assert types(tmp_path) == ["inlined"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "not valid JSON"),
        (b"{}", "type is missing"),
        (b'{"type":"../x"}', "invalid plugin name"),
        (b'{"type":"a","capabilities":{"x":"true"}}', "must be true or false"),
        (b"", "it is empty"),
    ],
)
def test_a_broken_sibling_makes_the_network_unusable(tmp_path, siblings, content, said):
    """From libcni: any broken sibling fails the whole network."""
    put(tmp_path, a_conflist=conflist("demo", "inlined"))
    put(siblings, a_conf=b'{"type":"good"}', b_conf=content)

    error = refusal(tmp_path / "a.conflist")

    assert error.path == siblings / "b.conf"
    assert said in error.reason


@pytest.mark.parametrize("target", ["nowhere", "."])
def test_a_sibling_that_is_a_link_to_nothing_is_not_passed_over(tmp_path, siblings, target):
    """Trap 16: a chain without one of its plugins must not be used."""
    put(tmp_path, a_conflist=conflist("demo", "inlined"))
    (siblings / "b.conf").symlink_to(target)

    error = refusal(tmp_path / "a.conflist")

    assert error.path == siblings / "b.conf"
    assert error.reason.startswith("cannot be read")


def test_a_sibling_directory_that_is_a_file_is_an_error(tmp_path):
    """From libcni: failed to read plugin config files in …: not a directory."""
    put(tmp_path, a_conflist=conflist("demo", "inlined"))
    (tmp_path / "demo").write_bytes(b"")

    error = refusal(tmp_path / "a.conflist")

    assert error.reason == (
        f"failed to read plugin config files in {tmp_path / 'demo'}: Not a directory"
    )


def test_no_sibling_directory_is_looked_for_under_a_name_that_is_a_path(tmp_path):
    """Not covered upstream: traversal in name; Trap 12."""
    (tmp_path / "conf").mkdir()
    (tmp_path / "e").mkdir()
    put(tmp_path / "e", a_conf=b'{"type":"stolen"}')
    put(tmp_path / "conf", a_conflist=conflist("../e", "inlined"))

    assert "network name" in refusal(tmp_path / "conf/a.conflist").reason


def test_a_bad_file_says_what_to_do(tmp_path):
    put(tmp_path, a_conflist=b"{")

    assert refusal(tmp_path / "a.conflist").hint == (
        f"mend or remove the file; `podnet lint {tmp_path / 'a.conflist'}` says more"
    )


def test_versions_are_chosen_from_those_that_exist(tmp_path):
    """From libcni conf_test: version selection max, cap, merges; Trap 17."""
    listed = conflist(cniVersion="0.4.0", cniVersions=["1.0.0", "1.0.5", "2.0.0", "0.3.1"])
    put(tmp_path, a_conflist=listed)

    network = confdir.load(tmp_path / "a.conflist")

    assert network.cni_version == "1.0.0"
    assert network.allowed_versions == ("1.0.0", "0.4.0", "0.3.1")


@pytest.mark.parametrize("value", [True, "true", "TRUE"], ids=repr)
def test_the_flags_of_a_list_may_be_strings(tmp_path, value):
    """From libcni conf_test: disableCheck "true"; Trap 15."""
    put(tmp_path, a_conflist=conflist(disableCheck=value, disableGC=value))

    network = confdir.load(tmp_path / "a.conflist")

    assert network.disable_check
    assert network.disable_gc

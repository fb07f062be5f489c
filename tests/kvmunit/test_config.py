"""unittests.cfg and the rest of a built tree: what is read, and what is rejected, with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kvmunit import config
from tests.kvmunit.config import ConfigError, UnitTest, environment, parse, seconds

TEXT = """
# a comment
[apic]
file = apic.flat
smp = 2
qemu_params = -cpu qemu64,+x2apic
arch = x86_64
timeout = 30
groups = apic  slow

[clock]
file=clock.flat
test_args = "10 `date +%s`"
check = /sys/a=Y /proc/b=0
accel = kvm
machine = q35
disabled_if = ! true
kvmtool_params = --none
"""


def test_each_key_is_a_field():
    apic, clock = parse(TEXT)
    assert apic == UnitTest(
        "apic", "apic.flat", "2", "", "-cpu qemu64,+x2apic", ("apic", "slow"), "x86_64", timeout=30.0
    )
    assert clock == UnitTest(
        "clock", "clock.flat", arguments='"10 `date +%s`"', check=(("/sys/a", "Y"), ("/proc/b", "0")), accel="kvm",
        machine="q35", disabled_if="! true",
    )  # fmt: skip


def test_what_a_test_does_not_say():
    assert parse("[one]\nfile = one.flat") == [UnitTest("one", "one.flat", "1", timeout=90.0)]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('qemu_params = """-m 2048\n-cpu max"""', "-m 2048\n-cpu max"),
        ('extra_params = """-m 2048 \\\n-cpu max\n"""', "-m 2048 -cpu max\n"),
        ('qemu_params = """-append a\\\\\nb"""  ', "-append a\\\\\nb"),  # two backslashes join nothing
        ('qemu_params = """-m 1"""', "-m 1"),
        ('qemu_params = """\n[not a test]\n# no comment\n"""', "\n[not a test]\n# no comment\n"),
    ],
)
def test_parameters_over_several_lines(text, value):
    assert parse(f"[one]\n{text}\nfile = one.flat") == [UnitTest("one", "one.flat", parameters=value)]


def test_the_later_of_two_values_counts():
    assert parse("[one]\nfile = a\nfile = b")[0].file == "b"


def test_an_unknown_key_is_noted():
    assert parse("[one]\nfile = a\nweight = 3")[0].unknown == ("weight",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file = a", "unittests.cfg:1: file before the first [name]"),
        ("\n[a]\n[a]", "unittests.cfg:3: there are two tests a"),
        ("[ ]", "unittests.cfg:1: '[ ]' names no test"),
        ("[../a]", "unittests.cfg:1: '[../a]' names no test"),
        ("[a]\nnonsense", "unittests.cfg:2: 'nonsense' is neither [name], key = value, nor a comment"),
        ("[a]\ntimeout = soon", "unittests.cfg:2: 'soon' is not a time such as 30 or 2m"),
        ("[a]\ncheck = /sys/a", "unittests.cfg:2: '/sys/a' is not made of FILE=VALUE"),
        ('[a]\nqemu_params = """-m 1\n-m 2', 'unittests.cfg:2: """ has no end'),
        ('[a]\nqemu_params = """-m 1""" -m 2', 'unittests.cfg:2: text after the """ that ends the value'),
    ],
)
def test_what_is_no_configuration_is_rejected_with_its_line(text, message):
    with pytest.raises(ConfigError) as caught:
        parse(text)
    assert str(caught.value) == message


@given(st.text(alphabet=st.sampled_from(list('[]=#"\\ \n\tabcfile_timeoutcheck0/')), max_size=200))
def test_any_text_is_read_or_rejected(text):
    try:
        names = [test.name for test in parse(text)]
    except ConfigError:
        return
    assert len(names) == len(set(names))


@pytest.mark.parametrize(("text", "wanted"), [("30", 30), ("1.5s", 1.5), ("2m", 120), ("1h", 3600), ("0", None)])
def test_times_are_those_of_the_command_timeout(text, wanted):
    assert seconds(text) == wanted


ERRATA = (("9e3f7a296940", "4.9"), ("8c58be34494b", "5.6"), ("6c7a5dce22b3", "6.1.5"), ("7b6b46311a85", "6.1.0-31"))


def test_the_environment_has_the_kernel_and_the_errata():
    assert environment(ERRATA, "6.1.0-30-amd64").splitlines() == [
        "KERNEL_VERSION_STRING=6.1.0-30-amd64",
        "KERNEL_VERSION=6", "KERNEL_PATCHLEVEL=1", "KERNEL_SUBLEVEL=0", "KERNEL_EXTRAVERSION=30",
        "ERRATA_9e3f7a296940=y", "ERRATA_8c58be34494b=y", "ERRATA_6c7a5dce22b3=n", "ERRATA_7b6b46311a85=n",
    ]  # fmt: skip
    assert "KERNEL_EXTRAVERSION=\nERRATA_9e3f7a296940=n\n" in environment(ERRATA, "4.8-rc1")


def built(folder, mak="ARCH=x86_64\nTEST_DIR=x86\nENVIRON_DEFAULT=yes\n", tests="[a]\nfile = a.flat\n"):
    (folder / "x86").mkdir()
    (folder / "config.mak").write_text(mak)
    (folder / "x86" / "unittests.cfg").write_text(tests)
    (folder / "errata.txt").write_text("#---:---\n9e3f7a296940    : 4.9    : arm64: KVM: a counter\n")
    return folder


def test_a_built_tree(tmp_path):
    tree = config.tree(built(tmp_path))
    assert tree == (
        tmp_path, tmp_path / "x86", "x86_64", True, (("9e3f7a296940", "4.9"),), (UnitTest("a", "a.flat"),)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("mak", "message"),
    [
        ("ARCH=arm64\n", "is for arm64, and vmrun runs x86 guests"),
        ("", "is for no architecture"),
        ("ARCH=x86_64\nCONFIG_EFI=y\n", "is for EFI programs"),
        ("ARCH=x86_64\nTEST_DIR=elsewhere\n", "elsewhere/unittests.cfg: No such file or directory"),
    ],
)
def test_a_tree_that_cannot_be_used(mak, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        config.tree(built(tmp_path, mak))


def test_a_folder_that_has_not_been_built(tmp_path):
    with pytest.raises(ConfigError, match=r"has no config.mak: run ./configure"):
        config.tree(tmp_path)

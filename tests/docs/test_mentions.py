"""What the documents name exists: files, modules, words of the code, commands and options, keys of a spec, links."""

import argparse
import ast
import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path

import attrs
import pytest

import vmspec
from runner.cli import VERBS, verb_parser
from runner.cli import parser as vmrun_parser
from tracer.cli import COMMANDS
from tracer.cli import _parser as vmtrace_parser
from vmspec.cli import _parser as vmspec_parser
from vmspec.spec.models import Spec

ROOT = Path(__file__).parents[2]
FILES = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")[
    :-1
]
FOLDERS = {str(folder) for file in FILES for folder in Path(file).parents}
TEXTS = {file: (ROOT / file).read_text() for file in FILES if file.endswith(".md") and (ROOT / file).exists()}
DOCUMENTS = sorted(TEXTS)
# The changelog names what former releases had.
PRESENT = [name for name in DOCUMENTS if name != "CHANGELOG.md"]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"^    (vm(?:run|spec|trace) .*)$", re.MULTILINE)
TOP = {file.split("/")[0] for file in FILES if "/" in file}


def blocks(name: str, *languages: str) -> Iterator[str]:
    return (found[2] for found in FENCE.finditer(TEXTS[name]) if found[1] in languages)


def code(name: str) -> Iterator[str]:
    """The texts between backquotes, outside blocks."""
    return (found.replace("\n", " ") for found in re.findall(r"`([^`]+)`", FENCE.sub("", TEXTS[name])))


def command_lines(name: str) -> Iterator[str]:
    for block in blocks(name, "console", "sh"):
        yield from (line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ "))
    yield from INDENTED.findall(TEXTS[name])


def ours(line: str) -> Iterator[list[str]]:
    """The commands of vmrun, vmspec and vmtrace in a shell's line, as words."""
    lexer = shlex.shlex(line.replace("\\|", "|"), posix=True, punctuation_chars="|;&>")
    lexer.whitespace_split = True
    words: list[str] = []
    for word in [*lexer, ";"]:
        if set(word) <= set("|;&>"):
            if words and Path(words[0]).name in ("vmrun", "vmspec", "vmtrace"):
                yield [Path(words[0]).name, *words[1:]]
            words = []
        elif word != "…":
            words.append(word.rstrip("…").strip("[]"))


def parser(words: list[str]) -> argparse.ArgumentParser:
    match words:
        case ["vmrun", verb, *_] if verb in VERBS:
            return verb_parser(verb)
        case ["vmrun", *_]:
            return vmrun_parser()
        case ["vmtrace", command, *_]:
            return subparser(vmtrace_parser(command), command) if command in COMMANDS else vmtrace_parser()
        case ["vmspec", command, *_]:
            return subparser(vmspec_parser(command), command)
    raise AssertionError(words)


def subparser(of: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    for action in of._actions:
        if isinstance(action, argparse._SubParsersAction) and command in action.choices:
            found: argparse.ArgumentParser = action.choices[command]
            return found
    return of


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_that_begin_with_a_folder_of_the_repository_lead_to_a_file_or_folder(name):
    named = [word for text in code(name) for word in text.split() if word.split("/")[0] in TOP and "/" in word]
    known = {*FILES, *FOLDERS}
    made = {"examples/linux/linux.arrow", "examples/linux/vmlinuz", "build/"}
    wrong = [path for path in named if path.strip("./") not in known and path not in made and "NAME" not in path]
    assert not wrong


@pytest.mark.parametrize("name", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_what_is_in_code_of_a_page_about_the_code_occurs_in_the_code(name):
    sources = [ROOT / file for file in FILES if not file.endswith(".md") and (ROOT / file).exists()]
    known = set(re.findall(r"\w+", " ".join([*FILES, *(path.read_text(errors="replace") for path in sources)])))
    assert not [word for text in code(name) for word in re.findall(r"\w{3,}", text) if word not in known]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_dotted_names_of_the_packages_exist(name):
    for text in code(name):
        if found := re.match(r"(?:vmspec|runner|tracer)(?:\.\w+)+", text):
            parts = found[0].split(".")
            value = import_module(parts[0])
            for index, part in enumerate(parts[1:], 2):
                value = getattr(value, part, None) or import_module(".".join(parts[:index]))


@pytest.mark.parametrize("name", PRESENT)
def test_command_lines_parse(name):
    for line in command_lines(name):
        for words in ours(line):
            with redirect_stderr(StringIO()) as errors, suppress(SystemExit):
                parser(words).parse_args(words[1 + (words[0] != "vmrun" or words[1] in VERBS) :])
            assert errors.getvalue() == "", words


@pytest.mark.parametrize("name", PRESENT)
def test_commands_and_options_in_the_text_exist(name):
    for text in code(name):
        for words in ours(text) if re.match(r"vm(run|spec|trace) ", text) else ():
            options = [word.split("=")[0] for word in words[1:] if re.match(r"--?[a-z]", word)]
            known = parser(words)._option_string_actions
            assert not [option for option in options if option not in known], text
            if words[0] == "vmtrace" and re.fullmatch("[a-z]+", words[1]):
                assert words[1] in COMMANDS, text
        for target in re.findall(r"^make ([a-z]+)", text):
            assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE), text


@pytest.mark.parametrize("name", PRESENT)
def test_keys_of_a_spec_exist(name):
    keys = {
        table.name: attrs.fields_dict(table.type)
        for table in attrs.fields(attrs.resolve_types(Spec))
        if attrs.has(table.type)
    }
    for text in code(name):
        found = re.fullmatch(r"(vm|boot|memory|cpu|trace|expect)\.([a-z]+)(?: = .*)?", text)
        if found and not re.search(r"\.(arrows?|ring|toml|vmz|html|parquet|csv|ipynb)$|^boot\.trace", text):
            assert found[2] in keys[found[1]], text


@pytest.mark.parametrize("name", DOCUMENTS)
def test_specs_and_python_in_a_page_are_valid(name, tmp_path):
    for block in blocks(name, "toml"):
        if "vm" in tomllib.loads(block):
            vmspec.loads(block, tmp_path)
    for block in blocks(name, "python"):
        ast.parse(block)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_to_a_file_and_a_heading(name):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", TEXTS[name]).replace("\n", " ")):
        if not target.startswith("http"):
            path, _, heading = target.partition("#")
            file = (ROOT / name).parent / path if path else ROOT / name
            assert file.exists(), target
            if heading:
                heads = re.findall(r"^#+ (.*)$", FENCE.sub("", file.read_text()), re.MULTILINE)
                assert heading in [re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads], target

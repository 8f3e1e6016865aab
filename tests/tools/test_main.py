"""python -m spin: every command can be imported and has --help; errors and unknown commands have their exit status."""

import importlib
from types import SimpleNamespace

import pytest

import spin
from spin import __main__
from spin.errors import DataError


@pytest.mark.parametrize("command", sorted(__main__.COMMANDS.keys() - {"check-device"}))  # which has those of a stage
def test_every_command_has_a_help_of_its_own(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        __main__.main([*command.split(), "--help"])
    assert stopped.value.code == 0 and "usage" in capsys.readouterr().out


@pytest.mark.parametrize("words", [[], ["nothing"], ["benchmark"], ["benchmark", "nothing"], ["unit"]])
def test_unknown_commands_are_wrong_usage(words, capsys):
    assert __main__.main(words) == 2 and "usage" in capsys.readouterr().err


def test_an_error_with_a_remedy_is_printed_without_a_traceback(monkeypatch, capsys):
    def fail(argv):
        raise DataError("the file", found=" ".join(argv), remedy="another")

    monkeypatch.setitem(__main__.COMMANDS, "fails", "a.module:main")
    monkeypatch.setattr(importlib, "import_module", lambda name: SimpleNamespace(main=fail))
    assert __main__.main(["fails", "with", "this"]) == 1
    assert capsys.readouterr().err == "the file\n  found: with this\n  remedy: another\n"


@pytest.mark.parametrize("name", [name for name in spin.__all__ if name != "__version__"])
def test_functions_of_the_package_are_imported_on_first_use(name):
    assert callable(getattr(spin, name)) and name in dir(spin)


def test_a_namesake_in_the_same_environment_is_named(monkeypatch):
    monkeypatch.setattr(spin.metadata, "version", lambda name: {"spin": "0.13"}[name])
    with pytest.warns(UserWarning, match="spin 0.13, another project.*pip uninstall spin"):
        spin._warn_about_namesake()

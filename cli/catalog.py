"""`stretto catalog`: from a folder of music to a signed catalogue on record, a verb a step."""

from __future__ import annotations

import importlib

import click

_VERBS = {
    "scan": ("cli.catalog_scan", "scan_command", "Look at every file of a folder: digests, audio, tags."),
    "template": ("cli.catalog_check", "template_command", "Print the CSV to fill in."),
    "check": ("cli.catalog_check", "check_command", "Check metadata row by row against what was scanned."),
    "sign": ("cli.catalog_sign", "sign_command", "Make signed statements of what was checked."),
    "submit": ("cli.catalog_submit", "submit_command", "Send them to a node until all are on record."),
    "status": ("cli.catalog_status", "status_command", "How far a catalogue is."),
}


class _Verbs(click.Group):
    """Imports a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _VERBS:
            return None
        module, attribute, _ = _VERBS[cmd_name]
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command), f"{module}.{attribute} is no command"
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Steps"):
            formatter.write_dl([(name, summary) for name, (_, _, summary) in _VERBS.items()], col_max=12)


@click.group("catalog", cls=_Verbs)
def catalog_group() -> None:
    """From a folder of music to a signed catalogue on record: scan, check, sign, submit, status.

    \b
    Example:
      stretto catalog scan music/ --into autumn/
      stretto catalog check autumn/ --metadata rows.csv
      stretto catalog sign autumn/ --key K --genesis G
      stretto catalog submit autumn/ --node 127.0.0.1:5101
    """

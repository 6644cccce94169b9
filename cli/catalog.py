"""`stretto catalog`: from a folder of music and its metadata to signed catalogues. One module a verb."""

from __future__ import annotations

import click

from cli.catalog_scan import scan_command


@click.group("catalog")
def catalog_group() -> None:
    """From a folder of music to signed catalogues, step by step.

    \b
    Example:
      stretto catalog scan music/ --into autumn/
    """


catalog_group.add_command(scan_command)

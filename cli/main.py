"""Entry point of `stretto`: a list of verbs, each imported only when it runs, and the one place where errors end."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import NamedTuple

import click

from cli.output import EXIT_MEANINGS, CliError, Exit, complain, print_json


class Verb(NamedTuple):
    name: str
    module: str
    attribute: str
    summary: str


# The summaries stand here so that `stretto --help` imports no verb.
STORY: tuple[tuple[str, tuple[Verb, ...]], ...] = (
    (
        "1. Put music on record",
        (
            Verb("hash", "cli.hash", "hash_command", "Identify files: BLAKE3, as b3sum prints it."),
            Verb("claim", "cli.claim", "claim_command", "Make one signed statement from audio files and their tags."),
            Verb("submit", "cli.submit", "submit_command", "Send a statement to a node and wait until it is final."),
            Verb("catalog", "cli.catalog", "catalog_group", "Whole folders of music: scan, check, sign, submit."),
            Verb("rights", "cli.rights", "rights_group", "Dispute a claim, answer, transfer, withdraw; court orders."),
        ),
    ),
    (
        "2. Ask what is on record",
        (
            Verb("query", "cli.query", "query_command", "Who claims this audio, ISRC, ISWC? Or: show a statement."),
            Verb("watch", "cli.watch", "watch_command", "Follow the log from any index, in order."),
        ),
    ),
    (
        "3. Prove it to anybody",
        (
            Verb("evidence", "cli.evidence", "evidence_group", "Get one evidence file; verify it without any network."),
            Verb(
                "misbehaviour", "cli.misbehaviour", "misbehaviour_group", "Prove that a validator contradicted itself."
            ),
        ),
    ),
    (
        "4. Anchor it on public chains, mint tokens",
        (
            Verb("mint", "cli.mint", "mint_group", "From a claim on record to a token on a public chain."),
            Verb("bridge", "cli.bridge", "bridge_group", "Deploy the contracts, relay checkpoints, see what it costs."),
        ),
    ),
    (
        "Try it on this machine",
        (
            Verb("demo", "cli.demo", "demo_command", "The whole journey on four local nodes, forgeries refused."),
            Verb("devnet", "cli.devnet", "devnet_group", "Four local nodes: init, up, down, status."),
            Verb("gpu", "cli.gpu", "gpu_group", "Is a GPU right, and faster here than the CPU?"),
        ),
    ),
    (
        "Operate a node",
        (
            Verb("key", "cli.keys", "key_group", "Make a private key; show a key's public part."),
            Verb("node", "cli.node", "node_group", "Run a member's node."),
            Verb("consensus", "cli.consensus", "consensus_group", "See why consensus moves or stalls."),
            Verb("govern", "cli.govern", "govern_group", "Vote on members, keys and parameters; see open votes."),
            Verb("epochs", "cli.epochs", "epochs_group", "Who belonged when: list, export, verify from genesis."),
            Verb("store", "cli.store", "store_group", "Prove a node's whole store from genesis."),
        ),
    ),
)
VERBS = {verb.name: verb for _, verbs in STORY for verb in verbs}


class LazyGroup(click.Group):
    """Finds verbs by name and imports a verb's module when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        verb = VERBS.get(cmd_name)
        if verb is None:
            return None
        try:
            command = getattr(importlib.import_module(verb.module), verb.attribute)
        except ModuleNotFoundError as error:
            if error.name != verb.module:
                raise
            raise CliError(f"{cmd_name}: not part of this installation", Exit.SOFTWARE) from error
        assert isinstance(command, click.Command), f"{verb.module}.{verb.attribute} is no command"
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name not in VERBS and not name.startswith("-"):
            from difflib import get_close_matches

            near = get_close_matches(name, VERBS, n=1)
            meant = f" Did you mean {near[0]!r}?" if near else " See 'stretto --help'."
            ctx.fail(f"There is no verb {name!r}.{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        for title, verbs in STORY:
            with formatter.section(title):
                formatter.write_dl([(verb.name, verb.summary) for verb in verbs], col_max=12)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Exit codes"):
            formatter.write_dl([(f"{code.value:>3}", meaning) for code, meaning in EXIT_MEANINGS.items()], col_max=8)


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="stretto", prog_name="stretto")
def stretto() -> None:
    """Record who claimed which music when, and prove it to anybody with one file.

    \b
      stretto hash music/                                        what exactly are these files?
      stretto claim music/ --key K --genesis G --member label --out my.stretto
      stretto submit my.stretto --node 127.0.0.1:5101 --wait     on record, signed by a quorum
      stretto query --digest music/song.flac                     who claims it?
      stretto evidence get --digest music/song.flac --out song.evidence.zip
      stretto evidence verify song.evidence.zip music/song.flac --genesis G

    Every verb has --help with an example, and --json for programs.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command line. Returns the exit code (see Exit); prints at most one line about what went wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None:
        # As process 1 of a container nobody else would: the kernel drops a SIGTERM that has no handler there.
        signal.signal(signal.SIGTERM, _terminate)
    try:
        # Not `stretto.main`: it prints and exits in its own ways on Ctrl-C and closed pipes.
        with stretto.make_context("stretto", given) as context:
            code = stretto.invoke(context)
        sys.stdout.flush()
        return int(code or 0)
    except BaseException as error:  # noqa: BLE001  the one place at the top
        return ended_by(error, given)


def ended_by(error: BaseException, arguments: Sequence[str]) -> int:
    """Says what ended a command line, in at most one line (STYLE: never a traceback by surprise). Gives the exit code.

    Raises: what is no end of a command, as it came.
    """
    match error:
        case click.exceptions.Exit():  # --help and --version end this way
            return error.exit_code
        case click.exceptions.NoArgsIsHelpError():
            click.echo(error.ctx.get_help() if error.ctx else "", err=True)
            return Exit.USAGE
        case click.Abort() | KeyboardInterrupt():
            complain("interrupted")
            return Exit.INTERRUPTED
        case BrokenPipeError():
            # Whoever read us has seen enough (`| head`). Point stdout elsewhere so that the flush at exit stays quiet.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return Exit.OK
        case Exception():
            message, code = _explain(error)
            details = error.details if isinstance(error, CliError) else {}
            return _end(message, code, arguments, details)
    raise error


def _terminate(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def _explain(error: Exception) -> tuple[str, Exit]:  # noqa: PLR0911  one a case
    """The one line to print, and how to end."""
    from consensus.errors import LocalError, PeerError, RequestError

    match error:
        case CliError():
            return error.format_message(), error.exit
        case click.UsageError():
            hint = f" (see '{error.ctx.command_path} --help')" if error.ctx else ""
            return f"{error.format_message()}{hint}", Exit.USAGE
        case click.ClickException():
            return error.format_message(), Exit.IO
        case RequestError() | PeerError():
            return str(error), Exit.DATA
        case LocalError():
            return str(error), Exit.CONFIG
        case OSError():
            return f"{error.filename or 'input or output'}: {error.strerror or error}", Exit.IO
        case _:
            if os.environ.get("STRETTO_DEBUG"):
                import traceback

                traceback.print_exception(error)
            fault = f"internal fault: {type(error).__name__}: {error}"
            return f"{fault} (set STRETTO_DEBUG=1 for the traceback)", Exit.SOFTWARE


def _end(message: str, code: Exit, arguments: Sequence[str], details: Mapping[str, str]) -> int:
    if "--json" in arguments:
        print_json({"ok": False, "exit": int(code), "error": code.name, "message": message, **details})
    complain(message)
    return code


if __name__ == "__main__":
    sys.exit(main())

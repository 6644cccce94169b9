"""`stretto devnet`: a consortium of four on this machine, to try everything on and to write programs against."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.output import CliError, Exit, json_option, print_json, print_table, say

if TYPE_CHECKING:
    from ledger.genesis import Genesis
    from node.devnet import Devnet, DevnetNode
    from node.rpc.answers import NodeStatus

UP_SECONDS = 60.0
POLL_SECONDS = 0.1


def _directory_option(function: Any) -> Any:
    return click.option(
        "--dir",
        "directory",
        type=click.Path(path_type=Path, file_okay=False),
        default=Path(".stretto/devnet"),
        show_default=True,
        envvar="STRETTO_DEVNET",
        show_envvar=True,
        help="Where the devnet lives.",
    )(function)


@click.group("devnet")
def devnet_group() -> None:
    """A label, a court, a society and a platform on this machine: four processes, on loopback only.

    \b
    Example: stretto devnet init && stretto devnet up && stretto devnet status
    """


@devnet_group.command("init")
@_directory_option
@click.option(
    "--port",
    type=click.IntRange(1024, 63000),
    help="First libp2p port; gRPC lies 1,000 above, metrics 2,000.  [default: 4101]",
)
@click.option("--free-ports", is_flag=True, help="Choose free ports instead.")
@json_option
def init(directory: Path, *, port: int | None, free_ports: bool, as_json: bool) -> None:
    """Make keys, genesis and a folder for each of the four nodes.

    \b
    Example: stretto devnet init --dir /tmp/consortium
    """
    from node.devnet import init_devnet, load_devnet

    genesis = init_devnet(directory, port=None if free_ports else port or 4101)
    devnet = load_devnet(directory)
    members = {m.id: m for m in genesis.members}
    if as_json:
        print_json(
            {
                "ok": True,
                "genesis": str(devnet.genesis_path),
                "genesis_digest": genesis.digest.hex(),
                "origin": genesis.origin,
                "nodes": [
                    {"member": n.member, "name": members[n.member].name, "rpc": n.config.rpc} for n in devnet.nodes
                ],
            }
        )
        return
    rows = [(n.member, members[n.member].name, n.config.rpc, str(n.config.directory / "keys")) for n in devnet.nodes]
    print_table(("member", "institution", "gRPC", "keys"), rows)
    say(f"genesis  {devnet.genesis_path}")
    say(f"digest   {genesis.digest.hex()}")
    say(f"next     stretto devnet up --dir {directory}")


@devnet_group.command("up")
@_directory_option
@click.option("--member", "members", multiple=True, help="Only this node (may be repeated).")
@json_option
def up(directory: Path, *, members: tuple[str, ...], as_json: bool) -> None:
    """Start the nodes in the background and wait until they work together.

    \b
    Example: stretto devnet up
    """
    from node.devnet import load_devnet

    devnet = load_devnet(directory)
    chosen = _choose(devnet, members)
    for node in chosen:
        node.start(outlives=True)
    seconds = wait_until_up(devnet, chosen)
    _print_status(devnet, as_json=as_json, note=f"up after {seconds:.1f} s; logs in {devnet.directory}/*/log/node.log")


@devnet_group.command("down")
@_directory_option
@click.option("--member", "members", multiple=True, help="Only this node (may be repeated).")
@click.option("--kill", is_flag=True, help="As a power cut would: no chance to tidy up.")
@json_option
def down(directory: Path, *, members: tuple[str, ...], kill: bool, as_json: bool) -> None:
    """Stop the nodes. Nothing is deleted.

    \b
    Example: stretto devnet down --member court --kill
    """
    from node.devnet import load_devnet

    stopped = [node.member for node in _choose(load_devnet(directory), members) if node.stop(kill=kill)]
    if as_json:
        print_json({"ok": True, "stopped": stopped})
    else:
        say(f"stopped: {', '.join(stopped) or 'none was running'}")


@devnet_group.command("status")
@_directory_option
@json_option
def status(directory: Path, *, as_json: bool) -> None:
    """Show where each node stands. Exit code 1 where one does not answer.

    \b
    Example: stretto devnet status --json
    """
    from node.devnet import load_devnet

    if not _print_status(load_devnet(directory), as_json=as_json):
        raise click.exceptions.Exit(Exit.REFUSED)


def _choose(devnet: Devnet, members: tuple[str, ...]) -> list[DevnetNode]:
    known = [node.member for node in devnet.nodes]
    for member in members:
        if member not in known:
            raise CliError(f"--member {member}: expected one of {', '.join(known)}", Exit.USAGE)
    return [node for node in devnet.nodes if not members or node.member in members]


def wait_until_up(devnet: Devnet, started: list[DevnetNode], seconds: float = UP_SECONDS) -> float:
    """Waits until each started node answers, votes, and sees enough others for a quorum. Gives the seconds it took.

    Raises: NodeEnded where a node process ended; CliError when time is up.
    """
    from cli.client import NodeClient, NodeError, NodeUnreachable
    from node.start import load_genesis

    genesis = load_genesis(devnet.genesis_path)
    begun = time.monotonic()
    for node in started:
        while True:
            node.check_running()
            try:
                with NodeClient(node.config.rpc, deadline_s=1.0) as client:
                    answer = client.status()
                _check_ours(node, answer, genesis)
                seen = 1 + sum(peer.connected for peer in answer.live.peers)
                if answer.live.consensus_running and seen >= genesis.quorum:
                    break
                missing = "it does not see a quorum of the others"
            except (NodeError, NodeUnreachable) as error:
                missing = str(error)
            if time.monotonic() - begun > seconds:
                raise CliError(
                    f"the node of {node.member} was not up after {seconds:.0f} s: {missing}; see {node.log_path}",
                    Exit.UNREACHABLE,
                )
            time.sleep(POLL_SECONDS)
    return time.monotonic() - begun


def _check_ours(node: DevnetNode, answer: NodeStatus, genesis: Genesis) -> None:
    """Raises: CliError where somebody else listens at the node's address."""
    if (answer.genesis, answer.member) != (genesis.digest, node.member):
        raise CliError(
            f"at {node.config.rpc} answers the node of {answer.member} of {answer.origin}, not {node.member}'s: "
            "stop that one, or make this devnet with other ports (`stretto devnet init --free-ports`)",
            Exit.CONFIG,
        )


def _print_status(devnet: Devnet, *, as_json: bool, note: str = "") -> bool:
    """Prints each node's state; gives whether all answered."""
    from cli.client import NodeClient, NodeError, NodeUnreachable
    from node.start import load_genesis

    genesis = load_genesis(devnet.genesis_path)
    documents: list[dict[str, Any]] = []
    for node in devnet.nodes:
        document: dict[str, Any] = {"member": node.member, "rpc": node.config.rpc, "pid": node.pid(), "answers": False}
        if node.config.metrics is not None:
            document["metrics"] = "http://{}:{}/metrics".format(*node.config.metrics)
        try:
            with NodeClient(node.config.rpc, deadline_s=2.0) as client:
                answer = client.status()
            _check_ours(node, answer, genesis)
            document |= {
                "answers": True,
                "consensus_running": answer.live.consensus_running,
                "height": answer.height,
                "size": answer.size,
                "claims": answer.claims,
                "root": answer.root.hex(),
                "checkpoint_size": answer.checkpoint_size,
                "checkpoint_signers": list(answer.checkpoint_signers),
                "view": answer.live.view,
                "leader": answer.live.leader,
                "connected": sorted(p.member for p in answer.live.peers if p.connected),
                "pending_statements": answer.live.pending_statements,
            }
        except (NodeError, NodeUnreachable, CliError) as error:
            document["error"] = str(error)
        documents.append(document)
    ok = all(d["answers"] for d in documents)
    if as_json:
        print_json({"ok": ok, "genesis": str(devnet.genesis_path), "nodes": documents})
        return ok
    rows = [
        (
            d["member"],
            "up" if d.get("consensus_running") else "reads only" if d["answers"] else "down",
            d["rpc"],
            d.get("metrics", ""),
            d.get("height", ""),
            d.get("size", ""),
            d.get("claims", ""),
            f"{d['checkpoint_size']} by {len(d['checkpoint_signers'])}" if d["answers"] else "",
            d.get("root", "")[:16],
            ", ".join(d.get("connected", ())),
        )
        for d in documents
    ]
    columns = ("member", "state", "gRPC", "metrics", "height", "leaves", "claims", "checkpoint", "root", "sees")
    print_table(columns, rows)
    for d in documents:
        if "error" in d:
            say(f"{d['member']}: {d['error']}")
    if note:
        say(note)
    return ok

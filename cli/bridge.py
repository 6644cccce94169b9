"""`stretto bridge`: the contracts on public chains, and the relayer that brings the log's checkpoints to them."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli.bridge_anchor import anchor_command
from cli.bridge_ends import ended
from cli.bridge_verify import verify_command
from cli.output import CliError, Exit, PathArgument, complain, json_option, print_json, print_table, say
from cli.trust import epochs_option, genesis_option

if TYPE_CHECKING:
    from collections.abc import Callable

    from bridge.config import BridgeConfig
    from bridge.costs import Cost, Price
    from bridge.deploy import Genesis
    from bridge.node_client import NodeCheckpoint
    from bridge.status import ChainStatus

ADDRESSES_BYTES_MAX = 16 * 1024


def _config_option(function: Callable[..., Any]) -> Callable[..., Any]:
    return click.option(
        "--config",
        "config_path",
        metavar="FILE",
        type=PathArgument,
        default=Path("bridge.toml"),
        show_default=True,
        envvar="STRETTO_BRIDGE",
        show_envvar=True,
        help="The relayer's configuration (docs/bridge.md).",
    )(function)


@click.group("bridge")
def bridge_group() -> None:
    """Anchor the log on public chains: deploy the contracts, relay checkpoints, see how far they are and what it costs.

    \b
    Example:
      stretto bridge key --out relayer.json --password-file relayer.password
      stretto bridge deploy --chain polygon --recovery recovery.txt
      stretto bridge run
      stretto bridge status --json
      stretto bridge verify polygon/0x627c… --genesis genesis.json
    """


bridge_group.add_command(anchor_command)
bridge_group.add_command(verify_command)


def _loaded(path: Path) -> BridgeConfig:
    from bridge.config import ConfigError, load_config

    try:
        return load_config(path)
    except ConfigError as error:
        raise CliError(str(error), Exit.CONFIG, field=error.field) from error


# ---- key -------------------------------------------------------------------------------------------------------------


@bridge_group.command("key")
@click.option("--out", metavar="FILE", required=True, type=PathArgument, help="Written: a keystore of version 3.")
@click.option(
    "--password-file", metavar="FILE", required=True, type=PathArgument, help="Its first line; mode 0600. Never empty."
)
@json_option
def key(*, out: Path, password_file: Path, as_json: bool) -> int:
    """Make the key that pays for gas. Never use a validator's key for it.

    \b
    Example:
      (umask 077; head -c 24 /dev/urandom | base64 > relayer.password)
      stretto bridge key --out relayer.json --password-file relayer.password
    """
    from bridge.artifacts import checksummed
    from bridge.errors import SignerError
    from bridge.signer import create_keystore

    try:
        address = checksummed(create_keystore(out, password_file))
    except SignerError as error:
        raise ended(error) from error
    if as_json:
        print_json({"ok": True, "address": address, "keystore": str(out)})
    else:
        say(f"{out}: account {address}; fund it on every chain before the relayer runs")
    return Exit.OK


# ---- deploy ----------------------------------------------------------------------------------------------------------


@bridge_group.command("deploy")
@_config_option
@click.option("--chain", "chain_name", metavar="NAME", required=True, help="A chain of the configuration.")
@click.option(
    "--recovery",
    "recovery_path",
    metavar="FILE",
    required=True,
    type=PathArgument,
    help="Addresses of the recovery quorum, one a line: 4 to 64, none of them a validator's.",
)
@genesis_option
@epochs_option
@click.option("--deadline", "deadline_s", type=click.FloatRange(min=1), default=600, show_default=True)
@json_option
def deploy(
    *,
    config_path: Path,
    chain_name: str,
    recovery_path: Path,
    genesis_path: Path | None,
    epochs_path: Path | None,
    deadline_s: float,
    as_json: bool,
) -> int:
    """Put CheckpointBridge and MusicNFT on a chain, for good. Validators are those of the genesis, or of --epochs.

    The node's word is not taken: what the contract is told of the log must be signed by that quorum. An interrupted
    deployment goes on where it was. The addresses are written into the file that the configuration names as `deployed`.

    \b
    Example:
      stretto bridge deploy --chain polygon --recovery recovery.txt --genesis genesis.json
    """
    from bridge.artifacts import checksummed
    from bridge.deploy import Deployer, addresses_toml, write_addresses
    from bridge.journal import Journal
    from bridge.run import open_endpoints, open_node, open_signer
    from consensus.errors import StrettoError

    config = _loaded(config_path)
    line = (lambda text: print(text, file=sys.stderr)) if as_json else say
    try:
        chain = config.chain(chain_name)
        if chain.bridge is not None:
            raise CliError(f"chains.{chain_name} has a bridge at 0x{chain.bridge.hex()} already", Exit.CANNOT_CREATE)
        signer = open_signer(config)
        with open_node(config) as node:
            genesis = _genesis_of(node, genesis_path, epochs_path, recovery_path)
        with Journal(config.journal) as journal:
            endpoints = open_endpoints(chain)
            deployer = Deployer(chain, endpoints, signer, journal, say=line, mine_s=deadline_s)
            done = deployer.deploy(genesis)
            endpoints.close()
        if config.deployed is not None:
            write_addresses(config.deployed, chain_name, done)
    except StrettoError as error:
        raise ended(error) from error
    bridge, nft = checksummed(done.bridge), checksummed(done.nft)
    if as_json:
        print_json(
            {
                "ok": True, "chain": chain_name, "id": chain.id, "bridge": bridge, "nft": nft,
                "start_block": done.start_block, "gas": done.gas,
            }
        )  # fmt: skip
    elif config.deployed is not None:
        say(f"{chain_name}: bridge {bridge}, nft {nft}; written to {config.deployed}")
    else:
        say("put this into the configuration:")
        say(addresses_toml({chain_name: {"bridge": bridge, "nft": nft, "start_block": done.start_block}}))
    return Exit.OK


def _genesis_of(node: Any, genesis_path: Path | None, epochs_path: Path | None, recovery_path: Path) -> Genesis:
    """What the constructor is told, checked against rosters that the user trusts. Raises: CliError, StrettoError."""
    from bridge.deploy import check_set, genesis_from
    from cli.trust import find_rosters, require_genesis

    genesis = require_genesis(genesis_path)
    roster = find_rosters(genesis, epochs_path)[-1]
    return genesis_from(node, roster, check_set("recovery", _addresses(recovery_path)))


def _addresses(path: Path) -> list[bytes]:
    from cli.files import read_file

    found = []
    text = read_file(path, ADDRESSES_BYTES_MAX, "the recovery quorum").decode("utf-8", "replace")
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if not word:
            continue
        try:
            address = bytes.fromhex(word.removeprefix("0x"))
        except ValueError:
            address = b""
        if len(address) != 20:
            raise CliError(f"{path}, line {number}: expected an address such as 0x5290…9EE7, got {word!r}", Exit.DATA)
        found.append(address)
    return found


# ---- run -------------------------------------------------------------------------------------------------------------


@bridge_group.command("run")
@_config_option
@click.option("--once", is_flag=True, help="End when nothing is due and all that was sent is final: for cron, scripts.")
@click.option(
    "--deadline",
    "deadline_s",
    metavar="SECONDS",
    type=click.FloatRange(min=1),
    help="With --once: give up after this long (exit code 75).  [default: 1800]",
)
@click.option("--verbose", is_flag=True, help="Log at DEBUG level.")
@json_option
def run(*, config_path: Path, once: bool, deadline_s: float | None, verbose: bool, as_json: bool) -> int:
    """Relay checkpoints until SIGTERM or Ctrl-C. Any number may run: they take turns, and only the first one pays.

    On a terminal a table shows every chain; elsewhere log lines go to stderr (JSON, one a line).

    \b
    Example:
      stretto bridge run --config bridge.toml
      stretto bridge run --once --json
    """
    from bridge.config import ConfigError
    from bridge.journal import Journal
    from bridge.metrics import as_json as chain_json
    from bridge.run import Relayer, open_node, open_signer
    from cli.bridge_view import watching
    from consensus.errors import StrettoError
    from node.logs import configure_logs

    config = _loaded(config_path)
    configure_logs(f"relayer-{config.relayer}", verbose=verbose)
    try:
        signer = open_signer(config)
        with open_node(config) as node, Journal(config.journal) as journal:
            relayer = Relayer(config, node, signer, journal)
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: relayer.stop.set())
            server = relayer.metrics()
            try:
                with watching(once=once) as watch:
                    settled = relayer.run(once=once, deadline_s=deadline_s or (1800.0 if once else None), watch=watch)
            finally:
                if server is not None:
                    server.close()
            found = [chain_json(each) for _, each in sorted(relayer.snapshots().items())]
    except (ConfigError, StrettoError) as error:
        raise ended(error) from error
    if as_json:
        print_json({"ok": settled or not once, "chains": found})
    if once and not settled:
        for each in found:
            complain(f"chain {each['chain']}: {each['error'] or each['doing']}")
        return Exit.RETRY
    return Exit.OK


# ---- status ----------------------------------------------------------------------------------------------------------


@bridge_group.command("status")
@_config_option
@json_option
def status(*, config_path: Path, as_json: bool) -> int:
    """Show every chain: what its contract has, how far behind the node it is, and what is on its way.

    Exit code 1 where a bridge is frozen, 69 where something could not be asked.

    \b
    Example:
      stretto bridge status --config bridge.toml
    """
    from bridge.run import open_node
    from bridge.status import look
    from consensus.errors import StrettoError

    config = _loaded(config_path)
    node, trouble = None, ""
    try:
        with open_node(config) as client:
            node = client.latest()
    except StrettoError as error:
        trouble = str(error)
    chains = look(config)
    if as_json:
        print_json(
            {
                "ok": not trouble and not any(each.error for each in chains),
                "node": {
                    "address": config.node,
                    "size": node.signed.checkpoint.size if node else None,
                    "root": node.signed.checkpoint.root.hex() if node else None,
                    "epoch": node.current_epoch if node else None,
                    "error": trouble,
                },
                "routes": dict(config.routes),
                "chains": [each.as_json(node) for each in chains],
            }
        )
    else:
        _print_status(config, chains, node, trouble)
    if any(each.state is not None and each.state.frozen for each in chains):
        return Exit.REFUSED
    return Exit.UNREACHABLE if trouble or any(each.error for each in chains) else Exit.OK


def _print_status(config: BridgeConfig, chains: list[ChainStatus], node: NodeCheckpoint | None, trouble: str) -> None:
    rows = []
    for each in chains:
        shown = each.as_json(node)
        state = each.state
        purposes = ", ".join(purpose for purpose, name in config.routes.items() if name == each.config.name)
        rows.append(
            (
                each.config.name,
                purposes or "-",
                "-" if state is None else f"{state.size:,}",
                "-" if each.final_state is None else f"{each.final_state.size:,}",
                "-" if state is None else f"{state.root.hex()[:12]}…",
                "-" if state is None else str(state.epoch),
                "-" if shown["lag_leaves"] is None else f"{shown['lag_leaves']:,}",
                "-" if shown["finalized_lag_seconds"] is None else f"{shown['finalized_lag_seconds']:.0f} s",
                "-" if each.pending is None else str(each.pending),
                "FROZEN" if state is not None and state.frozen else "ok" if state is not None else "-",
            )
        )
    columns = ("chain", "for", "size", "final", "root", "epoch", "behind", "finality", "pending", "state")
    print_table(columns, rows)
    if node is not None:
        point = node.signed.checkpoint
        say(f"node {config.node}: {point.size:,} leaves, root {point.root.hex()[:12]}…, epoch {node.current_epoch}")
    elif not trouble:
        say(f"node {config.node}: no checkpoint for chains yet")
    for text in filter(None, [trouble, *(each.error for each in chains)]):
        complain(text)
    for each in chains:
        for endpoint in each.endpoints:
            if endpoint["state"] != "ok":
                label, why = endpoint["endpoint"], endpoint["last_error"]
                complain(f"chain {each.config.name}: {label} {endpoint['state']}: {why}")


# ---- costs -----------------------------------------------------------------------------------------------------------


@bridge_group.command("costs")
@_config_option
@click.option("--validators", type=click.IntRange(4, 50), default=4, show_default=True, help="Size of the committee.")
@click.option("--gwei", "gwei", metavar="CHAIN=PRICE", multiple=True, help="Price of a unit of gas, 10^-9 coins.")
@click.option("--coin", "coin", metavar="CHAIN=PRICE", multiple=True, help="Price of one coin, in your money.")
@json_option
def costs(*, config_path: Path, validators: int, gwei: tuple[str, ...], coin: tuple[str, ...], as_json: bool) -> int:
    """Show what anchoring and minting cost: gas as measured, at the prices you give, and what was really paid.

    \b
    Example:
      stretto bridge costs --gwei polygon=30 --coin polygon=0.25 --gwei ethereum=2 --coin ethereum=2500
    """
    from bridge.costs import estimate, paid
    from bridge.journal import Journal
    from consensus.errors import StrettoError

    config = _loaded(config_path)
    prices = _prices(config, gwei, coin)
    chains = list(config.chains.values())
    estimated = estimate(chains, validators, prices)
    spent: list[Cost] = []
    if config.journal.exists():
        try:
            with Journal(config.journal, read_only=True) as journal:
                spent = paid(chains, journal.totals(), prices)
        except StrettoError as error:
            raise ended(error) from error
    if as_json:
        print_json(
            {
                "ok": True, "validators": validators, "routes": dict(config.routes),
                "measured": [each.as_json() for each in estimated], "paid": [each.as_json() for each in spent],
            }
        )  # fmt: skip
        return Exit.OK
    _print_costs(f"Gas as measured (contracts/gas.json), {validators} validators", estimated)
    if spent:
        _print_costs("Paid, by this relayer's journal", spent)
    missing = sorted(name for name in config.chains if name not in prices or prices[name].gwei is None)
    if missing:
        say(f"no gas price was given for {', '.join(missing)}: --gwei {missing[0]}=PRICE")
    return Exit.OK


def _print_costs(title: str, rows: list[Cost]) -> None:
    print_table(
        ("chain", "operation", "times", "gas", "coins", "money"),
        [
            (
                each.chain,
                each.operation,
                f"{each.count:,}",
                f"{each.gas:,}",
                "unknown" if each.coins is None else f"{each.coins:.6f}",
                "unknown" if each.money is None else f"{each.money:,.4f}",
            )
            for each in rows
        ],
        title=title,
    )


def _prices(config: BridgeConfig, gwei: tuple[str, ...], coin: tuple[str, ...]) -> dict[str, Price]:
    from bridge.costs import Price

    found: dict[str, dict[str, float]] = {}
    for option, kind, given in (("--gwei", "gwei", gwei), ("--coin", "coin", coin)):
        for text in given:
            name, _, value = text.partition("=")
            try:
                price = float(value)
            except ValueError:
                price = -1.0
            if name not in config.chains or not 0 <= price < 1e12:
                known = ", ".join(sorted(config.chains))
                raise CliError(f"{option} {text!r}: expected CHAIN=PRICE with a chain of {known}", Exit.USAGE)
            found.setdefault(name, {})[kind] = price
    return {name: Price(**values) for name, values in found.items()}

"""The command ``haagent``: which subcommands there are, and how they end.

Each subcommand is imported when it is called, so ``haagent version`` pays for no YAML and
``haagent status`` for no netlink.  A new one is one function here and one module beside.

Exit codes: 0 done, 1 refused or failed, 2 bad usage or configuration, 3 agent not reachable.
Reasons go to stderr.
"""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

DEFAULT_CONFIG = Path("/etc/haagent/haagent.yml")
DEFAULT_NODE_CONFIG = Path("/etc/haagent/node.yml")
CONFIG_HELP = f"Configuration file.  Default: {DEFAULT_CONFIG}"
Config = Annotated[Path, typer.Option("--config", "-c", help="Configuration file.")]
ControlSocket = Annotated[
    Path | None, typer.Option(help="Control socket.  Default: /run/haagent/control.sock")
]
SocketOf = Annotated[
    Path | None, typer.Option("--config", "-c", help="Take the socket from this file.")
]

app = typer.Typer(
    name="haagent",
    help="Keep a virtual IP, and the HAProxy behind it, alive across Linux servers.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.command()
def check(
    file: Annotated[Path | None, typer.Argument(help="The same as --config.")] = None,
    config: Annotated[Path | None, typer.Option("--config", "-c", help=CONFIG_HELP)] = None,
) -> None:
    """Check a configuration file, on any machine; show what follows from it."""
    from haagent.cli.check import check as command  # noqa: PLC0415

    if file and config:
        raise typer.BadParameter("name the file once, as argument or with --config")
    command(file or config or DEFAULT_CONFIG)


@app.command()
def keygen(
    file: Annotated[
        Path, typer.Argument(help="File to make; '-' prints the key. With --agent a directory.")
    ] = Path("-"),
    *,
    agent: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Make ca.pem, cert.pem and key.pem of this agent."),
    ] = None,
    node: Annotated[
        str | None, typer.Option(metavar="NAME", help="Make the key of this app node instead.")
    ] = None,
    cluster: Annotated[
        str | None, typer.Option(metavar="NAME", help="Cluster of the node or agent.")
    ] = None,
    cluster_key: Annotated[
        Path | None, typer.Option("--from", metavar="FILE", help="Cluster key it follows from.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="Take cluster and key from this agent's file."),
    ] = None,
) -> None:
    """Make a new cluster key, the key of one app node, or certificates of the peer bus."""
    from haagent.cli import keygen as command  # noqa: PLC0415

    if node is None and agent is None:
        if cluster or cluster_key or config:
            raise typer.BadParameter("only what --node and --agent make follows from another key")
        command.keygen(file)
        return
    named = [bool(config), bool(cluster), bool(cluster_key)]
    if None not in {node, agent} or named not in ([True, False, False], [False, True, True]):
        text = "--node or --agent takes either --cluster and --from, or --config"
        raise typer.BadParameter(text)
    if agent is not None and not file.is_dir():
        raise typer.BadParameter("--agent takes a directory that is there")
    if agent is not None:
        command.keygen_of_agent(
            file, agent, cluster=cluster, cluster_key=cluster_key, config=config
        )
    if node is not None:
        command.keygen_of_node(file, node, cluster=cluster, cluster_key=cluster_key, config=config)


@app.command()
def password(file: Annotated[Path, typer.Argument(help="File to make.")]) -> None:
    """Make the password file of http.login."""
    from haagent.cli.password import password as command  # noqa: PLC0415

    command(file)


@app.command()
def status(
    socket: ControlSocket = None,
    config: SocketOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts; ages in ms.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Until Ctrl-C.")] = False,
) -> None:
    """Show the whole cluster as one agent sees it; 1 when a group has no master."""
    from haagent.cli.status import status as command  # noqa: PLC0415

    command(socket, config, as_json, watch)


@app.command()
def top(socket: ControlSocket = None, config: SocketOf = None) -> None:
    """Show the whole cluster on a whole terminal, live, with keys for drain and failover."""
    from haagent.cli.top.command import top as command  # noqa: PLC0415

    command(socket, config)


@app.command()
def explain(
    group: Annotated[str, typer.Argument(help="Name of the group.", show_default=False)],
    socket: ControlSocket = None,
    config: SocketOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Explain who is master of a group, why, and why not another."""
    from haagent.cli.explain import explain as command  # noqa: PLC0415

    command(group, socket, config, as_json)


@app.command()
def events(
    socket: ControlSocket = None,
    config: SocketOf = None,
    *,
    since: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="No older: 90s, 10m, 2h, 7d.  Default: all; -f: 10m."),
    ] = None,
    group: Annotated[str | None, typer.Option(help="Of this group only.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", help="As in 'peer.*'; may be repeated.  Default: all."),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until Ctrl-C.")] = False,
    local: Annotated[
        bool, typer.Option("--local", help="Of the agent that is asked, and of no other.")
    ] = False,
    order: Annotated[
        str, typer.Option(help="lamport: by cause; hlc: by time, while clocks agree.")
    ] = "lamport",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="With clocks and evidence.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts, a line each.")] = False,
) -> None:
    """Show what has happened, over all agents and their starts, each with its cause."""
    from haagent.cli.events import Wanted, events as command  # noqa: PLC0415

    command(
        socket,
        config,
        Wanted(
            since=since,
            group=group,
            kinds=tuple(kind or ()),
            follow=follow,
            local=local,
            order=order,
            verbose=verbose,
            as_json=as_json,
        ),
    )


@app.command()
def reload(
    socket: ControlSocket = None,
    config: SocketOf = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would change, and touch nothing.")
    ] = False,
) -> None:
    """Have the running agent take in its file; what is wrong with it changes nothing."""
    from haagent.cli.reload import reload as command  # noqa: PLC0415

    command(socket, config, dry_run=dry_run)


@app.command()
def failover(
    group: Annotated[str, typer.Argument(help="Name of the group.", show_default=False)],
    socket: ControlSocket = None,
    config: SocketOf = None,
    *,
    to: Annotated[
        str, typer.Option(metavar="NODE", help="To this agent.  Default: the best.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Also to a demoted agent.")] = False,
) -> None:
    """Hand a group over, as planned, to another agent, which keeps it; ask the master."""
    from haagent.cli.failover import failover as command  # noqa: PLC0415

    command(group, socket, config, to=to, force=force)


@app.command()
def drain(
    socket: ControlSocket = None,
    config: SocketOf = None,
    length: Annotated[
        str | None,
        typer.Option("--for", metavar="TIME", help="End by itself after 30m or 2h, say."),
    ] = None,
    *,
    force: Annotated[
        bool, typer.Option("--force", help="Also while nobody could take over.")
    ] = False,
) -> None:
    """Hand over what the agent is master of, and keep it out until undrain."""
    from haagent.cli.steer import length_ms, steer as command  # noqa: PLC0415

    try:
        ends = None if length is None else length_ms(length)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--for") from error
    command("drain", socket, config, force=force, length_ms=ends)


@app.command()
def undrain(socket: ControlSocket = None, config: SocketOf = None) -> None:
    """End a drain: the agent takes part again."""
    from haagent.cli.steer import steer as command  # noqa: PLC0415

    command("undrain", socket, config)


@app.command()
def pause(socket: ControlSocket = None, config: SocketOf = None) -> None:
    """Have nobody take over from the agent, nor the agent from others, but as planned."""
    from haagent.cli.steer import steer as command  # noqa: PLC0415

    command("pause", socket, config)


@app.command()
def resume(socket: ControlSocket = None, config: SocketOf = None) -> None:
    """End a pause: what has failed meanwhile is taken over at once."""
    from haagent.cli.steer import steer as command  # noqa: PLC0415

    command("resume", socket, config)


@app.command()
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the agent in the foreground, as systemd does."""
    from haagent.cli.run import run as command  # noqa: PLC0415

    command(config)


@app.command()
def node(config: Config = DEFAULT_NODE_CONFIG) -> None:
    """Run on an app server: send heartbeats, so that HAProxy's lists follow."""
    from haagent.cli.node import node as command  # noqa: PLC0415

    command(config)


@app.command()
def release(config: Config = DEFAULT_CONFIG) -> None:
    """Remove the addresses that an agent left behind which ended without a goodbye."""
    from haagent.cli.release import release as command  # noqa: PLC0415

    command(config)


@app.command()
def simulate(
    config: Annotated[Path | None, typer.Argument(help=CONFIG_HELP)] = None,
    *,
    peer: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Configuration of a further agent; may be repeated."),
    ] = None,
    fault: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="'AT KIND [NODE...] [LENGTH [AMOUNT]]', as in '5s pause lb1 300ms'; may be "
            "repeated.  Default: what befalls masters.  A kind that is none lists all.",
        ),
    ] = None,
    scenario: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster, seed and faults, instead of CONFIG."),
    ] = None,
    agents: Annotated[
        int | None,
        typer.Option(min=2, max=5, help="Those without a file are lb2, lb3...  Default: 2"),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of delays and losses.")] = None,
    duration: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="As in 30s.  Default: until all is over and settled."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Play faults against a simulated cluster; 1 when a rule is broken."""
    from haagent.cli.simulate import simulate as command  # noqa: PLC0415

    if scenario and (config or peer or agents):
        raise typer.BadParameter("a scenario has its cluster: no CONFIG, --peer or --agents")
    command(
        [config or DEFAULT_CONFIG, *(peer or [])],
        scenario_file=scenario,
        faults=fault or [],
        agents=agents,
        seed=seed,
        length=duration,
        as_json=as_json,
    )


haproxy = typer.Typer(
    help="Show what HAProxy has, beside what is wanted.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(haproxy, name="haproxy")


@haproxy.command("show")
def haproxy_show(
    socket: ControlSocket = None,
    config: SocketOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show every server of every backend, as HAProxy has it at this moment."""
    from haagent.cli.haproxy import show as command  # noqa: PLC0415

    command(socket, config, as_json)


@haproxy.command("diff")
def haproxy_diff(
    socket: ControlSocket = None,
    config: SocketOf = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Show which servers are not as wanted; 1 when there are any."""
    from haagent.cli.haproxy import diff as command  # noqa: PLC0415

    command(socket, config, as_json)


@app.command()
def doctor(
    config: Config = DEFAULT_CONFIG,
    seconds: Annotated[
        float | None,
        typer.Option(min=1, max=600, help="How long to listen.  Default: 5, or two heartbeats."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts.")] = False,
) -> None:
    """Look for what is wrong between the agents and on this host, and say what to do."""
    from haagent.cli.doctor import doctor as command  # noqa: PLC0415

    command(config, seconds, as_json)


@app.command()
def sniff(
    interface: Annotated[
        list[str] | None,
        typer.Option("--interface", "-i", help="May be repeated.  Default: the file's, or all."),
    ] = None,
    *,
    pcap: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A capture, instead of listening.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take key, names and ports from it.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The cluster key; takes --cluster.")
    ] = None,
    cluster: Annotated[str, typer.Option(help="Name of the cluster of --key.")] = "",
    group: Annotated[
        list[str] | None,
        typer.Option(help="A group of --cluster, each has a key of its own; may be repeated."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, help="End after so many.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For scripts, a line each.")] = False,
) -> None:
    """Show what agents and app nodes say on the network, or said in a capture."""
    from haagent.cli.sniff import Wanted, sniff as command  # noqa: PLC0415

    if (key is None) != (not cluster) or (key and config) or (group and not cluster):
        raise typer.BadParameter("name --config, or --key with --cluster and its --group")
    if pcap and interface:
        raise typer.BadParameter("--pcap and --interface exclude each other")
    command(
        Wanted(
            interfaces=tuple(interface or ()),
            pcap=pcap,
            config=config,
            key=key,
            cluster=cluster,
            groups=tuple(group or ()),
            count=count,
            as_json=as_json,
        )
    )


@app.command()
def version() -> None:
    """Print the version."""
    from haagent.cli.version import version as command  # noqa: PLC0415

    command()


def main() -> None:
    """Run the command line; a closed pipe or a full disk is an exit code, not a traceback."""
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):
            print(f"haagent: {error}", file=sys.stderr)
        # Python flushes once more at exit, which must not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)

"""All findings that the facts give, the gravest first."""

from haagent.doctor.cluster import cluster
from haagent.doctor.facts import Facts
from haagent.doctor.findings import Finding
from haagent.doctor.host import host
from haagent.doctor.network import network


def examine(facts: Facts) -> list[Finding]:
    """Return what is wrong, in the order in which a person should read it."""
    findings = [*network(facts), *cluster(facts), *host(facts)]
    return sorted(findings, key=lambda finding: -finding.severity)

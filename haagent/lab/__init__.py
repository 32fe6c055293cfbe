"""Test clusters in network namespaces on one machine: real processes, real faults, measured times.

The demo, ``tests/lab`` and ``tests/bench`` stand on this package::

    with Lab("demo") as lab:
        cluster = build(lab)                                # haagent.lab.cluster
        probes = probe_udp(cluster.client, VIP_IPV4)        # haagent.lab.probes
        fault = lab.faults.cut(cluster.balancers["lb1"])    # haagent.lab.faults
        lab.wait_until(lambda: probes.gap_after(fault.since_ns, by="lb2"), 5, "lb2 answers")

It needs root, iproute2, nftables and util-linux (``setpriv``), and HAProxy for the cluster.  It
touches nothing of the machine outside namespaces of its own and ``/run/haagent-lab-PREFIX``.

Every instant is CLOCK_MONOTONIC in nanoseconds, which all namespaces share, so the moment of a
fault and the moment of an answer compare directly.

What this package does not do: know anything of haagent's insides.  It starts ``haagent`` as an
operator would and imports nothing of it.
"""

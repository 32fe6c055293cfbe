#!/usr/bin/env bash
# Makes a virtual machine what its name says; run by Vagrant as root: provision.sh NAME ADDRESS
set -euo pipefail
name=$1 address=$2
export DEBIAN_FRONTEND=noninteractive

main() {
  apt-get -qq update
  case $name in
    lb*) load_balancer ;;
    app*) application ;;
    *) apt-get -qq install --no-install-recommends curl tcpdump ;;
  esac
}

load_balancer() {
  apt-get -qq install --no-install-recommends haproxy python3 python3-venv tcpdump
  # Not as root, which the example leaves to whoever installs it.
  sed '/^global/a\    user haproxy\n    group haproxy' /haagent/conf/haproxy.cfg >/etc/haproxy/haproxy.cfg
  systemctl restart haproxy

  /haagent/deploy/install
  install -m 600 -o haagent -g haagent /tmp/cluster.key /etc/haagent/cluster.key
  rm /tmp/cluster.key
  sed "s/eth0/$(interface)/" "/haagent/conf/nodes-$name.yml" >/etc/haagent/haagent.yml
  /opt/haagent/bin/haagent check
  systemctl enable haagent
  systemctl restart haagent
}

interface() {
  ip -brief address show to "$address" | cut -d ' ' -f 1
}

application() {
  cat >/etc/systemd/system/app.service <<UNIT
[Service]
ExecStart=/usr/bin/python3 /haagent/haagent/lab/webserver.py $name 8080
Restart=always
DynamicUser=yes

[Install]
WantedBy=multi-user.target
UNIT
  systemctl daemon-reload
  systemctl enable app
  systemctl restart app

  /haagent/deploy/install --node
  # Where it matters this is done beside the cluster key, and only the node's key is copied here.
  chmod 600 /tmp/cluster.key
  rm -f /etc/haagent/node.key
  /opt/haagent/bin/haagent keygen --node "$name" --cluster shop \
    --from /tmp/cluster.key /etc/haagent/node.key
  rm /tmp/cluster.key
  chown haagent-node:haagent-node /etc/haagent/node.key
  cat >/etc/haagent/node.yml <<FILE
node: $name
cluster: shop
key_file: /etc/haagent/node.key
heartbeat:
  paths:
    - interface: $(interface)
services:
  app:
    port: 8080
    check: {http: "http://127.0.0.1:8080/"}
FILE
  /opt/haagent/bin/haagent check /etc/haagent/node.yml
  systemctl enable haagent-node
  systemctl restart haagent-node
}

main

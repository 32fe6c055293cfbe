# Sourced by the commands that a fresh machine starts with: ./deploy/demo, ./tests/run,
# ./deploy/install.  Debian 12 or Ubuntu 24.04 and bash are all that must be there.
#
# become_root "$0" "$@"        go on as root, through sudo where that is needed
# install_packages NAME...     apt packages that are missing; starts and enables no service
# fetch_tool PACKAGE FILE DIR  one file of an apt package, without its installation
# make_environment DIR EXTRAS  a virtual environment with haagent and its extras: "[top]" or "[dev]"

set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

become_root() {
  [ "$(id -u)" = 0 ] && return
  command -v sudo >/dev/null || fail "needs root, and there is no sudo: run it as root"
  exec sudo -- "$@"
}

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

install_packages() {
  local missing=() name
  for name in "$@"; do
    installed "$name" || missing+=("$name")
  done
  [ ${#missing[@]} = 0 ] && return
  command -v apt-get >/dev/null || fail "please install: ${missing[*]}"
  echo "installing with apt: ${missing[*]}"
  (
    export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
    # Debian starts a service as soon as its package is there; this says no (and 101 is "no").
    if [ ! -e /usr/sbin/policy-rc.d ]; then
      trap 'rm -f /usr/sbin/policy-rc.d' EXIT
      printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
      chmod 755 /usr/sbin/policy-rc.d
    fi
    apt_get update && apt_get install --no-install-recommends "${missing[@]}"
  ) || fail "apt-get could not install ${missing[*]}"
  for name in "${missing[@]}"; do
    if [ -e "/lib/systemd/system/$name.service" ]; then keep_disabled "$name"; fi
  done
}

# For a tool that comes with a server: nothing of that is wanted here.
fetch_tool() {
  local package=$1 file=$2 directory=$3 copy
  [ -x "$directory/${file##*/}" ] && return
  echo "fetching ${file##*/} of $package into $directory"
  copy=$(mktemp -d)
  if (
    cd "$copy"
    { apt-get -qq download "$package" || { apt-get -qq update && apt-get -qq download "$package"; }; } &&
      dpkg-deb -x ./*.deb . && install -m 755 "$file" "$directory"
  ) >/dev/null 2>&1; then rm -rf "$copy"; else
    rm -rf "$copy"
    echo "could not fetch $package; what needs it is skipped, and the summary says so"
  fi
}

# Nor is a service that came along to start at the next boot.
keep_disabled() {
  if command -v systemctl >/dev/null; then
    systemctl disable --quiet "$1.service" 2>/dev/null || true
  else
    DPKG_MAINTSCRIPT_PACKAGE=$1 deb-systemd-helper disable "$1.service" || true
    update-rc.d "$1" disable 2>/dev/null || true
  fi
}

apt_get() {
  apt-get -qq -y -o DPkg::Lock::Timeout=120 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

find_python() {
  local python
  for python in /usr/bin/python3 python3; do
    if "$python" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
      echo "$python"
      return
    fi
  done
  return 1
}

make_environment() {
  local directory=$1 extras=$2 python made wanted
  find_python >/dev/null || install_packages python3 python3-venv
  python=$(find_python) || fail "needs Python 3.11 or newer"
  made=$directory/made
  if ! "$directory/bin/python" -c '' 2>/dev/null; then
    "$python" -m venv --clear "$directory"
    mkdir "$made"
  fi
  wanted=$({ cat "$root/pyproject.toml"; echo "$root"; } | sha256sum | cut -c -16)
  # What was made for development has all of them.
  [ -e "$made/$wanted$extras" ] || [ -e "$made/$wanted[dev]" ] && return
  echo "installing Python packages into $directory"
  "$directory/bin/pip" install --quiet --disable-pip-version-check --editable "$root$extras" ||
    fail "pip could not install haagent$extras and what it needs"
  touch "$made/$wanted$extras"
  chown -R --reference="$root" "$directory"
}

#!/bin/sh
# Installs what the tests use beside npm's packages: Chromium, PyNaCl for Debian's Python, curl.
# Without apt or root it installs nothing; the tests that need a missing tool are then skipped, and say so.
set -u
missing=""
command -v curl >/dev/null 2>&1 || missing="$missing curl"
[ -n "${CHROMIUM_PATH:-}" ] || [ -x /usr/bin/chromium ] || missing="$missing chromium"
/usr/bin/python3 -c 'import nacl' >/dev/null 2>&1 || missing="$missing python3 python3-nacl"
[ -n "$missing" ] || exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "Installing$missing for the tests"
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing >/dev/null
else
  echo "Not installed:$missing. Tests that need them are skipped; install them with your system's package manager."
fi
exit 0

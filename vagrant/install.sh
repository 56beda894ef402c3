#!/usr/bin/env bash
# What `vagrant provision` runs in the machine, as root: builds the program and installs the cloud. Once that is done,
# it changes nothing; a run that was cut off goes on.
#   install.sh ENGINE
set -euo pipefail

readonly ENGINE=${1:?which engine? native or devstack} ANSWERS=/etc/gpucloud/gpucloud.toml

# The box of `lab box` names no name server; the router of a network with NAT answers as one.
if ! grep -qs '^nameserver' /etc/resolv.conf; then
    ip -4 route show default | sed -n 's/^default via \([^ ]*\).*/nameserver \1/p' >/etc/resolv.conf
fi

cd /gpucloud
./bootstrap.sh --version
if [ ! -e "$ANSWERS" ]; then
    rm -f "$ANSWERS.new"
    gpucloud-install init --profile vagrant --output "$ANSWERS.new"
    sed -i "s/^engine = .*/engine = \"$ENGINE\"/" "$ANSWERS.new"
    mv "$ANSWERS.new" "$ANSWERS"
fi
gpucloud-install apply --yes --progress plain

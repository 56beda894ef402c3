#!/usr/bin/env bash
# What the cloud has for its users, declared and made in one plan, against the same typed one by one with the stock
# client; and twenty instances at once against one after the other. As root, on an idle machine, with a lab host that has
# a cloud of the profile `lab`:
#   benches/resources.sh LAB
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=benches/lab.sh
source benches/lab.sh

lab=$1
root=/var/lib/gpucloud-lab/labs/$lab/root
answers=$root/etc/gpucloud/gpucloud.toml
full=$(mktemp)
cp "$answers" "$full"

inside() {
    "$ours" lab exec "$lab" -- "$@"
}

apply() {
    inside gpucloud-install apply --yes --progress json 2>&1
}

since() {
    echo "$(date +%s.%N) - $1" | bc
}

# Seconds behind $1 at which Nova took the first order for an instance.
ordered_after() {
    local stamp
    stamp=$(inside journalctl --unit gpucloud-nova-api --since "@$1" --output short-unix --no-pager |
        awk '/POST \/v2.1\/servers / {print $1; exit}')
    echo "$stamp - $1" | bc
}

# Everything but the image and the external network away, by the stock client where `apply` keeps it for its users.
empty() {
    sed '/^\[resources\]/q' "$full" >"$answers"
    printf 'project = "demo"\nimages = [{ name = "guest", from = "guest" }]\n' >>"$answers"
    inside openstack --os-cloud gpucloud-demo server delete --wait demo 2>/dev/null || true
    apply >/dev/null
    inside openstack --os-cloud gpucloud-demo port delete demo 2>/dev/null || true
}

ours_chain() {
    local begin ordered log=/tmp/bench-resources.log
    empty
    cp "$full" "$answers"
    begin=$(date +%s.%N)
    apply >"$log"
    echo "ours: all of it $(since "$begin") s"
    ordered=$(ordered_after "$begin")
    echo "ours: Nova took the order after $ordered s"
    grep -E '"step-done"' "$log" | sed -E 's/.*"step":"([^"]*)","seconds":([0-9.]*).*/  \1 \2/' | grep -E 'instance|answers|floating|router'
    ours_ordered=$ordered
}

by_hand() {
    local begin
    cp benches/by-hand/resources.sh "$root/root/"
    begin=$(date +%s.%N)
    inside bash /root/resources.sh
    hand_ordered=$(ordered_after "$begin")
    echo "by hand: Nova took the order after $hand_ordered s"
    inside bash /root/resources.sh away
    rm "$root/root/resources.sh"
}

# Requests in the logs of the APIs since $1: method and path.
requests() {
    inside journalctl --since "@$1" --output cat --no-pager |
        sed -nE 's/.* (GET|POST|PUT|HEAD|PATCH|DELETE) ([^ ]*) => generated .*/\1 \2/p'
}

# What is asked for the sake of `[resources]`: the logins, each kind's lists, and what Nova asks Neutron for its list.
of_resources='auth/tokens|/images\?visibility|/flavors/detail|/servers/detail|/os-keypairs|/(networks|networks\?router.*|subnets|ports.*|routers|security-groups.*|floatingips)$'

second_apply() {
    local begin seconds n
    for n in 1 2 3; do
        sleep 2
        begin=$(date +%s.%N)
        inside gpucloud-install apply --yes >/dev/null 2>&1
        seconds=$(since "$begin")
        echo "second apply: $seconds s, $(requests "$begin" | wc -l) requests reached the APIs, $(requests "$begin" | grep -cE "$of_resources") of them for resources"
    done
}

# An empty disk: its BIOS finds nothing to boot and sits there.
twenty() {
    local begin n
    truncate --size 1M "$root/root/blank.raw"
    inside gpucloud-install image add blank --from /root/blank.raw >/dev/null 2>&1
    inside gpucloud-install flavor add tiny --vcpus 1 --memory-mib 64 --disk-gib 1 >/dev/null 2>&1
    inside gpucloud-install quota set instances=-1 vcpus=-1 >/dev/null 2>&1
    begin=$(date +%s.%N)
    for n in $(seq 20); do
        inside gpucloud-install instance launch "at-once-$n" --image blank --flavor tiny --no-floating-ip --wait 0 >/dev/null 2>&1 &
    done
    wait
    echo "twenty at once: $(since "$begin") s, $(inside gpucloud-install instance list | grep -c 'at-once.*ACTIVE') of them ACTIVE"
    for n in $(seq 20); do inside gpucloud-install instance delete "at-once-$n" --yes >/dev/null 2>&1 & done
    wait
    begin=$(date +%s.%N)
    for n in $(seq 20); do
        inside openstack --os-cloud gpucloud-demo server create --image blank --flavor tiny --network private --wait "serial-$n" >/dev/null
    done
    echo "twenty by hand, one after the other: $(since "$begin") s"
    for n in $(seq 20); do inside gpucloud-install instance delete "serial-$n" --yes >/dev/null 2>&1 & done
    wait
    inside gpucloud-install flavor delete tiny --yes >/dev/null 2>&1
    inside gpucloud-install image delete blank --yes >/dev/null 2>&1
}

ours_chain
second_apply
by_hand
echo "ours / by hand: $(echo "scale=3; $ours_ordered / $hand_ordered" | bc)"
twenty
cp "$full" "$answers"
rm -f "$full"

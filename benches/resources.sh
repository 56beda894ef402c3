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

# No instance may be there when the driver changes.
empty_of_instances() {
    local id
    for id in $(inside openstack --os-cloud gpucloud-demo server list -f value -c ID); do
        inside openstack --os-cloud gpucloud-demo server delete --wait "$id" &
    done
    wait
}

# Nova's own fake driver instead of libvirt; `off` puts libvirt back.
fake_driver() {
    local unit=gpucloud-nova-compute.service
    mkdir -p "$root/etc/systemd/system/$unit.d"
    rm -f "$root/etc/systemd/system/$unit.d/bench.conf" "$root/etc/nova/nova-cpu.conf.d/bench.conf" "$root/root/nova-compute-fake"
    if [ "$1" = on ]; then
        install -m 755 benches/nova-compute-fake.py "$root/root/nova-compute-fake"
        printf '[Service]\nExecStart=\nExecStart=%s\n' \
            "/root/nova-compute-fake --config-file /etc/nova/nova-cpu.conf --config-dir /etc/nova/nova-cpu.conf.d" \
            >"$root/etc/systemd/system/$unit.d/bench.conf"
        printf '[DEFAULT]\ncompute_driver = fake.SteadyFakeDriver\n' >"$root/etc/nova/nova-cpu.conf.d/bench.conf"
    fi
    inside systemctl daemon-reload
    inside systemctl restart "$unit"
    until inside gpucloud-install status >/dev/null 2>&1; do sleep 1; done
}

# declare_instances N: answers with this many instances instead of those that they have.
declare_instances() {
    local n
    sed -E 's/^quota = .*/quota = { instances = -1, vcpus = -1, memory_mib = -1 }/; /^instances = \[/,$d' "$full" >"$answers"
    echo 'instances = ['
    for n in $(seq "$1"); do
        echo "    { name = \"at-once-$n\", image = \"guest\", flavor = \"ds2G\", network = \"private\"," \
            "key_pair = \"demo\", security_groups = [\"ssh\"], floating_ip = false },"
    done
    echo ']'
}

active() {
    echo "$(inside gpucloud-install instance list | grep -c "$1.*ACTIVE") of them ACTIVE"
}

twenty() {
    local begin n
    empty_of_instances
    fake_driver on
    declare_instances 0 >>"$answers"
    apply >/dev/null
    declare_instances 20 >>"$answers"
    begin=$(date +%s.%N)
    apply >/tmp/bench-twenty.log
    echo "twenty declared, one apply: $(since "$begin") s, $(active at-once)"
    empty_of_instances
    begin=$(date +%s.%N)
    for n in $(seq 20); do
        inside gpucloud-install instance launch "each-$n" --no-floating-ip --wait 0 >/dev/null 2>&1 &
    done
    wait
    echo "twenty launched at once: $(since "$begin") s, $(active each)"
    empty_of_instances
    begin=$(date +%s.%N)
    for n in $(seq 20); do
        inside openstack --os-cloud gpucloud-demo server create --image guest --flavor ds2G --network private \
            --key-name demo --security-group ssh --wait "serial-$n" >/dev/null
    done
    echo "twenty with the stock client, one after the other: $(since "$begin") s, $(active serial)"
    empty_of_instances
    for n in $(seq 20); do inside openstack --os-cloud gpucloud-demo port delete "at-once-$n"; done
    fake_driver off
}

ours_chain
second_apply
by_hand
echo "ours / by hand: $(echo "scale=3; $ours_ordered / $hand_ordered" | bc)"
twenty
cp "$full" "$answers"
rm -f "$full"

#!/bin/bash
# The chain of the profiles' demo with the stock client, one command after the other: the rival of `[resources]`. Runs
# inside a host with a cloud; the image `guest` and the network `public` are there. Takes back what it made when it is
# called with `away`.
set -euo pipefail
admin() { openstack --os-cloud gpucloud "$@" >/dev/null; }
if [ "${1:-}" = away ]; then
    server=$(openstack --os-cloud gpucloud server list --all-projects --name '^hand$' -f value -c ID)
    admin server delete --wait "$server"
    admin router remove subnet hand hand
    admin router delete hand
    admin network delete hand
    admin flavor delete hand2G
    admin user delete hand
    admin project delete hand
    rm -f /root/hand /root/hand.pub
    exit
fi
ssh-keygen -q -t ed25519 -N '' -f /root/hand
admin project create hand
admin user create --project hand --password hand12345 hand
admin role add --project hand --user hand member
user() { openstack --os-cloud gpucloud --os-project-name hand --os-username hand --os-password hand12345 "$@" >/dev/null; }
admin flavor create --vcpus 2 --ram 2048 --disk 10 hand2G
user network create hand
user subnet create --network hand --subnet-range 10.254.77.0/24 hand
user router create hand
user router set --external-gateway public hand
user router add subnet hand hand
user keypair create --public-key /root/hand.pub hand
user security group create hand
for direction in ingress egress; do
    user security group rule create --$direction --protocol icmp hand
    user security group rule create --$direction --protocol tcp --dst-port 22 hand
done
user server create --image guest --flavor hand2G --network hand --key-name hand --security-group hand hand

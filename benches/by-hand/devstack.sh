#!/bin/bash
# Runs DevStack by hand, as its guide says: the rival of the engine `devstack`.
#   devstack.sh HOST_ADDRESS GIT_BASE [BRANCH]
# Run as root inside a fresh Debian host that systemd booted. Prints stack.sh's last line, and TOTAL: from nothing until
# every API and the login page answer. GIT_BASE is an address (file:///srv/git).
set -euo pipefail
address=$1 git_base=$2 branch=${3:-stable/2026.1}
export DEBIAN_FRONTEND=noninteractive

apt-get -qq update
apt-get -qq -y install sudo git gawk curl >/dev/null
useradd --shell /bin/bash --home-dir /opt/stack --create-home stack
chmod 755 /opt/stack
echo 'stack ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/stack
chmod 440 /etc/sudoers.d/stack
if ! modprobe openvswitch 2>/dev/null; then
    # A container has no kernel datapath, and DevStack makes br-ex with it.
    apt-get -qq -y install openvswitch-switch >/dev/null
    ovs-vsctl --may-exist add-br br-ex -- set bridge br-ex datapath_type=netdev protocols=OpenFlow13,OpenFlow15
    ovs-vsctl set open . external-ids:ovn-bridge-datapath-type=netdev
fi
git config --system --add safe.directory '*'
sudo -iu stack git clone --quiet --branch "$branch" "$git_base/openstack/devstack.git" devstack
cat >/opt/stack/devstack/local.conf <<EOF
[[local|localrc]]
HOST_IP=$address
ADMIN_PASSWORD=secret123
DATABASE_PASSWORD=secret123
RABBIT_PASSWORD=secret123
SERVICE_PASSWORD=secret123
LOGFILE=/opt/stack/logs/stack.sh.log
GIT_BASE=$git_base
NOVNC_REPO=$git_base/novnc/novnc.git
VIRT_DRIVER=libvirt
LIBVIRT_TYPE=qemu
ENABLE_KSM=False
ENABLE_KSMTUNED=False
DOWNLOAD_DEFAULT_IMAGES=False
IMAGE_URLS=""
OVS_DATAPATH_TYPE=netdev
IP_VERSION=4
disable_service c-api c-sch c-vol c-bak tempest dstat etcd3
EOF
chown stack: /opt/stack/devstack/local.conf
# shellcheck disable=SC2024
sudo -iu stack ./devstack/stack.sh >/root/stack.log 2>&1 || { tail -40 /root/stack.log; exit 1; }
tail -1 /opt/stack/logs/stack.sh.log.summary
for path in identity/v3 compute/ networking/ placement/ image/ dashboard/auth/login/; do
    until curl --silent --output /dev/null --fail --max-time 10 "http://$address/$path"; do sleep 0.5; done
done

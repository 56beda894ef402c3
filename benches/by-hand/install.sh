#!/bin/bash
# Installs OpenStack 2026.2 by hand: the rival that gpucloud-install is measured against.
#   install.sh HOST_ADDRESS [CONFIG_DIR [LOCK]]
# Run as root inside a fresh Debian 12 or 13 that systemd booted. CONFIG_DIR holds the configuration files as they shall
# lie on the host (CONFIG_DIR/etc/nova/nova.conf, ...); @HOST_ADDRESS@ and @HOST_NAME@ in them are filled in.
# Prints "TIME name start end" for each part (seconds since the start) and at last TOTAL: every API answers, the compute
# service is up, the login page of Horizon answers 200. Output of the parts: /root/by-hand-log.
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
IP=${1:?HOST_ADDRESS}; CFG=${2:-$HERE/cfg}; LOCK=${3:-$HERE/../../profiles/native/2026.2.lock}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 UV_NO_PYTHON_DOWNLOADS=1
CA=/etc/ssl/certs/ca-certificates.crt; export PIP_CERT=$CA SSL_CERT_FILE=$CA
B=/opt/gpucloud/venv/bin; L=/root/by-hand-log; F=/run/by-hand
rm -rf $F; mkdir -p $L $F; : > $F/failed
T0=$(date +%s%N)
now(){ local ms=$(( ($(date +%s%N)-T0)/1000000 )); printf '%d.%03d' $((ms/1000)) $((ms%1000)); }
T(){ local name=$1 a b rc; shift; a=$(now); "$@" >$L/$name.log 2>&1; rc=$?; b=$(now)
  printf 'TIME %-10s %8.1f %8.1f%s\n' "$name" "$a" "$b" "$([ $rc = 0 ] || echo " FAILED rc=$rc, see $L/$name.log")"
  [ $rc = 0 ] || echo "$name" >> $F/failed; return $rc; }
D(){ : > $F/$1; }
W(){ local x; for x in "$@"; do while [ ! -e $F/$x ]; do [ -s $F/failed ] && exit 1; sleep 0.1; done; done; }
U(){ systemctl start $(printf 'gpucloud-%s ' "$@") || { echo "start of $*" >> $F/failed; return 1; }; }
asg(){ runuser -u gpucloud -- "$@"; }
wait_http(){ # URL [CODE]: any answer that is no gateway error, or exactly CODE
  local c i; for i in $(seq 1500); do c=$(curl -s -o /dev/null -w '%{http_code}' --max-time 10 "$1")
    case $c in 000|502|503) ;; *) if [ -z "${2:-}" ] || [ "$c" = "$2" ]; then echo "$1 $c"; return 0; fi;; esac; sleep 0.2; done; return 1; }

APT="apt-get -y -q --no-install-recommends -o Dpkg::Use-Pty=0 -o Dpkg::Options::=--force-confold -o Dpkg::Options::=--force-unsafe-io"
P0="python3-venv"
P1="mariadb-server rabbitmq-server memcached"
P2="openvswitch-switch ovn-central ovn-host haproxy iptables"
P3="libvirt-daemon-system libvirt-clients qemu-system-x86 qemu-utils ovmf python3-libvirt genisoimage openssh-client novnc"
apt_update(){ apt-get update -q; }
apt_get(){ $APT install --download-only $P0 $P1 $P2 $P3; }
apt_install(){ $APT install "$@"; }

config(){ # FILE... below CONFIG_DIR, to the same place on the host
  local f; for f in "$@"; do mkdir -p "/$(dirname "$f")"
    sed "s/@HOST_ADDRESS@/$IP/g; s/@HOST_NAME@/$(hostname)/g" "$CFG/$f" > "/$f"; done; }
files(){ # everything but what needs a package's group
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d
  id gpucloud >/dev/null 2>&1 || useradd --system --home-dir /var/lib/gpucloud --create-home --shell /usr/sbin/nologin gpucloud
  umask 027
  ( cd "$CFG"; find etc -type f ! -path 'etc/rabbitmq/*' ) > $F/files; config $(cat $F/files)
  local s; for s in keystone placement glance nova neutron; do chown -R root:gpucloud /etc/$s; done
  mkdir -p /etc/{keystone/keystone,placement/placement,glance/glance-api,nova/nova,nova/nova-cpu,neutron/neutron,neutron/neutron-ovn-agent}.conf.d /etc/gpucloud/horizon/local_settings.d
  chown -R root:gpucloud /etc/gpucloud /etc/{keystone,placement,glance,nova,neutron}
  chmod 755 /etc/mysql /etc/mysql/mariadb.conf.d /etc/openstack; chmod 755 /etc/systemd/system/epmd.socket.d; chmod 644 /etc/mysql/mariadb.conf.d/99-gpucloud.cnf /etc/systemd/system/epmd.socket.d/gpucloud.conf
  install -d -o gpucloud -g gpucloud -m 700 /etc/keystone/fernet-keys /etc/keystone/credential-keys
  install -d -o gpucloud -g gpucloud -m 750 /var/lib/{keystone,placement,glance,neutron,horizon} /var/lib/glance/{images,tasks,staging,lock} /var/lib/neutron/lock /var/lib/nova/lock
  install -d -o gpucloud -g gpucloud -m 755 /var/lib/nova /var/lib/nova/instances
  install -D -m 755 "$HERE/cfg/net-up" /opt/gpucloud/bin/net-up; chmod 755 /opt/gpucloud /opt/gpucloud/bin
  install -m 644 "$HERE"/cfg/units/* /etc/systemd/system/; systemctl daemon-reload; }

venv(){ umask 022
  python3 -m venv /opt/gpucloud/boot && /opt/gpucloud/boot/bin/pip -q install uv==0.13.9 &&
  /opt/gpucloud/boot/bin/uv venv -q --python /usr/bin/python3 /opt/gpucloud/venv &&
  /opt/gpucloud/boot/bin/uv pip sync -q --require-hashes --build-constraints "$LOCK" --python $B/python "$LOCK" || return 1
  SP=$(echo /opt/gpucloud/venv/lib/python3.*/site-packages); E=/opt/gpucloud/venv/etc
  cp $E/glance/glance-api-paste.ini /etc/glance/; cp -r $E/glance/metadefs /etc/glance/
  cp -r $E/nova/api-paste.ini $E/nova/rootwrap.* /etc/nova/; cp -r $E/neutron/api-paste.ini $E/neutron/rootwrap.* /etc/neutron/
  chmod -R g+rX /etc/glance /etc/nova /etc/neutron; chown -R root:gpucloud /etc/glance /etc/nova /etc/neutron
  ln -sfn /etc/gpucloud/horizon/local_settings.py $SP/openstack_dashboard/local/; }
bytecode(){ umask 022; $B/python -m compileall -q -x '/tests?/' /opt/gpucloud/venv/lib; }
libvirt_python(){ local SP=$(echo /opt/gpucloud/venv/lib/python3.*/site-packages)
  ln -sfn /usr/lib/python3/dist-packages/libvirt.py /usr/lib/python3/dist-packages/libvirtmod.cpython-*.so $SP/ && $B/python -c 'import libvirt'; }

db_start(){ systemctl restart mariadb memcached; }
db(){ local d n f p
  for d in keystone:keystone/keystone.conf placement:placement/placement.conf glance:glance/glance-api.conf nova_api:nova/nova.conf nova_cell0:nova/nova.conf nova_cell1:nova/nova.conf neutron:neutron/neutron.conf; do
    n=${d%%:*}; f=/etc/${d#*:}; u=${n%%_*}; p=$(sed -n "s#.*pymysql://$u:\([^@]*\)@.*#\1#p" $f | head -n 1)
    echo "CREATE DATABASE IF NOT EXISTS $n CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci; CREATE USER IF NOT EXISTS '$u'@'127.0.0.1' IDENTIFIED BY '$p'; GRANT ALL ON $n.* TO '$u'@'127.0.0.1';"
  done | mariadb; }
mq(){ umask 027; config etc/rabbitmq/rabbitmq-env.conf etc/rabbitmq/conf.d/10-gpucloud.conf; chown -R root:rabbitmq /etc/rabbitmq; chmod 755 /etc/rabbitmq
  chmod 750 /etc/rabbitmq/conf.d; chmod 644 /etc/rabbitmq/rabbitmq-env.conf; systemctl restart rabbitmq-server; }
ovn(){ local type=system i
  modprobe openvswitch 2>/dev/null || [ -d /sys/module/openvswitch ] || type=netdev
  systemctl disable -q --now haproxy; systemctl start ovsdb-server openvswitch-switch ovn-central || return 1
  for i in $(seq 100); do ovn-nbctl get-connection >/dev/null 2>&1 && ovn-sbctl get-connection >/dev/null 2>&1 && break; sleep 0.2; done
  ovn-nbctl set-connection ptcp:6641:127.0.0.1 -- set connection . inactivity_probe=60000 &&
  ovn-sbctl set-connection ptcp:6642:127.0.0.1 -- set connection . inactivity_probe=60000 &&
  ovs-vsctl set open . external-ids:ovn-bridge=br-int external-ids:ovn-remote=tcp:127.0.0.1:6642 external-ids:ovn-encap-type=geneve external-ids:ovn-encap-ip=$IP external-ids:hostname=$(hostname) external-ids:ovn-cms-options=enable-chassis-as-gw external-ids:ovn-bridge-mappings=public:br-ex || return 1
  if [ $type = netdev ]; then ovs-vsctl set open . other_config:userspace-tso-enable=true external-ids:ovn-bridge-datapath-type=netdev || return 1; fi
  ovs-vsctl --may-exist add-br br-ex -- set bridge br-ex datapath_type=$type && systemctl restart openvswitch-switch && systemctl restart ovn-host; }

keystone(){ local K="asg $B/keystone-manage --config-file /etc/keystone/keystone.conf --config-dir /etc/keystone/keystone.conf.d"
  local a=$(sed -n 's/^ *password: *"\(.*\)"/\1/p' /etc/openstack/clouds.yaml)
  $K db_sync && $K fernet_setup --keystone-user gpucloud --keystone-group gpucloud && $K credential_setup --keystone-user gpucloud --keystone-group gpucloud &&
  OS_BOOTSTRAP_PASSWORD=$a $K bootstrap --bootstrap-region-id RegionOne --bootstrap-public-url http://$IP:5000/v3 --bootstrap-internal-url http://$IP:5000/v3 --bootstrap-admin-url http://$IP:5000/v3 &&
  U keystone && wait_http http://$IP:5000/v3 && python3 "$HERE/cfg/keystone-init.py" $IP "$a"; }
placement(){ asg $B/placement-manage --config-file /etc/placement/placement.conf --config-dir /etc/placement/placement.conf.d db sync; }
glance(){ local G="asg $B/glance-manage --config-file /etc/glance/glance-api.conf --config-dir /etc/glance/glance-api.conf.d"
  $G db_sync && $G db_load_metadefs /etc/glance/metadefs; }
N="asg $B/nova-manage --config-file /etc/nova/nova.conf --config-dir /etc/nova/nova.conf.d"
nova(){ $N api_db sync && $N cell_v2 map_cell0 --database_connection '{scheme}://{username}:{password}@{hostname}/nova_cell0?{query}' &&
  $N cell_v2 create_cell --name cell1 --database_connection '{scheme}://{username}:{password}@{hostname}/{path}?{query}' --transport-url '{scheme}://{username}:{password}@{hostname}:{port}/{path}' &&
  $N db sync; }
neutron(){ asg $B/neutron-db-manage --config-file /etc/neutron/neutron.conf --config-file /etc/neutron/plugins/ml2/ml2_conf.ini --config-dir /etc/neutron/neutron.conf.d upgrade heads; }
horizon(){ local A="asg env DJANGO_SETTINGS_MODULE=openstack_dashboard.settings $B/django-admin"
  $A collectstatic --noinput -v 0 && $A compress --force -v 0; }
compute_up(){ "$B/python" - $IP "$(sed -n 's/^ *password: *"\(.*\)"/\1/p' /etc/openstack/clouds.yaml)" <<'P'
import json, sys, time, urllib.request as u
ip, pw = sys.argv[1:]
def c(m, url, b=None, h={}):
    f = u.urlopen(u.Request(url, method=m, data=json.dumps(b).encode() if b else None, headers={"Content-Type": "application/json", **h}))
    return json.loads(f.read()), f.headers
_, h = c("POST", f"http://{ip}:5000/v3/auth/tokens", {"auth": {"identity": {"methods": ["password"], "password": {"user": {"name": "admin", "domain": {"id": "default"}, "password": pw}}}, "scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}})
for _ in range(600):
    s = c("GET", f"http://{ip}:8774/v2.1/os-services?binary=nova-compute", h={"X-Auth-Token": h["X-Subject-Token"]})[0]["services"]
    if s and s[0]["state"] == "up": raise SystemExit(0)
    time.sleep(0.5)
raise SystemExit(1)
P
}
hosts(){ $N cell_v2 discover_hosts; }
final(){ local u; systemctl daemon-reload
  systemctl enable -q mariadb rabbitmq-server memcached gpucloud.target $(cd /etc/systemd/system; ls gpucloud-*.service) && systemctl start gpucloud.target || return 1
  for u in 5000/v3 8778/ 9292/ 8774/ 9696/ 8775/; do wait_http http://$IP:$u || return 1; done; wait_http http://$IP:8080/dashboard/auth/login/ 200; }

T files files
(T aptupdate apt_update && T aptget apt_get && T apt0 apt_install $P0 && D apt0 && T apt1 apt_install $P1 && D apt1 && T apt2 apt_install $P2 && D apt2 && T apt3 apt_install $P3 && D apt3) &
(W apt0; T venv venv && D venv && T bytecode bytecode) &
(W apt1; T mq mq && D mq) &
(W apt1; T dbstart db_start && T db db && D db) &
(W apt2; T ovn ovn && D ovn) &
(W apt3; T libvirt systemctl start virtlogd libvirtd && W venv && T libvirtpy libvirt_python && D virt) &
(W db venv; T keystone keystone && D keystone) &
(W db venv; T placement placement && T glance glance && U placement glance-api && T glancehttp wait_http http://$IP:9292/ && T plachttp wait_http http://$IP:8778/ && D placement
  T horizon horizon && W keystone && U horizon && T horizhttp wait_http http://$IP:8080/dashboard/auth/login/ 200) &
(W db venv mq; T nova nova && W keystone && T novastart U nova-conductor nova-scheduler nova-api nova-metadata && T novahttp wait_http http://$IP:8774/ && D nova) &
(W db venv; T neutron neutron && W ovn mq keystone && U neutron-api neutron-ovn-maintenance neutron-periodic && T neuthttp wait_http http://$IP:9696/ && D neutron) &
(W virt ovn nova placement; rm -f /usr/sbin/policy-rc.d; U net nova-compute neutron-ovn-agent nova-novncproxy && T compute compute_up && T hosts hosts) &
wait
rm -f /usr/sbin/policy-rc.d
[ -s $F/failed ] && { echo "FAILED: $(tr '\n' ' ' < $F/failed)"; exit 1; }
T final final || exit 1
echo "TOTAL $(now)"

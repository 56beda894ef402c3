#!/bin/sh
# Gives a Debian host the habits of an Ubuntu Server, from Debian's own packages. What Debian does not have is not there:
# Ubuntu's archive, its versions, snaps, phased updates. Arguments: address, gateway, link.
set -eu
address=$1 gateway=$2 link=$3
servers=$(sed -n 's/^nameserver //p' /etc/resolv.conf | paste -sd, -)

export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y install apparmor cloud-init dpkg-dev needrestart netplan.io network-manager openssh-server sudo \
    systemd-resolved ufw unattended-upgrades >/dev/null

# netplan, rendered for networkd as a server has it; the installer's file is cloud-init's.
rm -f /etc/systemd/network/*.network
cat >/etc/netplan/50-cloud-init.yaml <<YAML
# This file is generated from information provided by the datasource.
network:
  version: 2
  renderer: networkd
  ethernets:
    $link:
      addresses: [$address/24]
      link-local: []
      routes: [{to: default, via: $gateway}]
      nameservers: {addresses: [$servers], search: [campus.example]}
YAML
chmod 0600 /etc/netplan/50-cloud-init.yaml
systemctl disable --quiet NetworkManager NetworkManager-dispatcher NetworkManager-wait-online

# cloud-init: the data of an installer, /etc/hosts made anew at each boot. No server of a cloud is asked.
cat >/etc/cloud/cloud.cfg.d/90-installer.cfg <<YAML
datasource_list: [NoCloud, None]
manage_etc_hosts: true
preserve_hostname: true
network: {config: disabled}
ssh_deletekeys: false
disable_root: true
users: []
YAML
mkdir -p /var/lib/cloud/seed/nocloud
echo "instance-id: $(cat /etc/machine-id)" >/var/lib/cloud/seed/nocloud/meta-data
printf '#cloud-config\n{}\n' >/var/lib/cloud/seed/nocloud/user-data

# needrestart as where nobody is asked; unattended-upgrades with what installs at once.
cat >/etc/needrestart/conf.d/50-automatic.conf <<'PERL'
$nrconf{restart} = 'a';
PERL
cat >/etc/apt/apt.conf.d/20auto-upgrades <<CONF
APT::Periodic::Update-Package-Lists "1";
APT::Periodic::Unattended-Upgrade "1";
CONF

# The installer's user: no root login, sudo with a terminal of its own.
useradd --create-home --shell /bin/bash --groups sudo ada
echo 'Defaults use_pty' >/etc/sudoers.d/pty
echo 'ada ALL=(ALL) NOPASSWD: ALL' >/etc/sudoers.d/90-cloud-init-users
chmod 0440 /etc/sudoers.d/*
passwd --quiet --lock root

# ufw, with the login let through.
ufw allow OpenSSH >/dev/null
ufw --force enable >/dev/null

# What a program finds out about the system; and a package that only Ubuntu's archive has.
rm -f /etc/os-release
cat >/etc/os-release <<RELEASE
PRETTY_NAME="Ubuntu 24.04.3 LTS"
NAME="Ubuntu"
VERSION_ID="24.04"
VERSION="24.04.3 LTS (Noble Numbat)"
VERSION_CODENAME=noble
ID=ubuntu
ID_LIKE=debian
RELEASE
archive=/srv/archive
mkdir -p $archive/virtual/DEBIAN
cat >$archive/virtual/DEBIAN/control <<CONTROL
Package: linux-image-virtual
Version: 1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Depends: linux-image-cloud-amd64
Description: the kernel for guests, by the name that Ubuntu has for it
CONTROL
dpkg-deb --build $archive/virtual $archive/linux-image-virtual_1_all.deb >/dev/null
rm -r $archive/virtual
(cd $archive && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
echo "deb [trusted=yes] file:$archive ./" >/etc/apt/sources.list.d/archive.list
apt-get -qq update

# Not before the end: until the next boot nobody answers there.
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf

#!/usr/bin/env bash
# All tests: installs what they need, then formatting, lints, shell scripts, unit tests, whole installations.
#   ./test.sh          what continuous integration runs
#   ./test.sh --fast   without whole installations
#   ./test.sh --only network,damage   these groups of whole installations, and nothing else; tests/lab.rs has their names
#   ./test.sh --long   with what takes an hour: forty installations, each killed once; a cloud on a kernel of its own; where
#                      GPUCLOUD_TEST_GIT_BASE names a folder with a mirror of its repositories, a real DevStack; with
#                      GPUCLOUD_TEST_NESTED=1, where KVM is in virtual machines too, a notebook in one
set -euo pipefail
cd "$(dirname "$0")"

part=
times=
begin() {
    local seconds=$((SECONDS - since))
    if [ -n "$part" ]; then times+=$(printf '%5d s  %s' "$seconds" "$part")$'\n'; fi
    part=$1 since=$SECONDS
    if [ -n "$part" ]; then printf '\n== %s\n' "$part"; fi
}
since=$SECONDS
# The runner's own summary is the last thing that is printed: the times stand before its part.
print_times() {
    begin ''
    printf '\nparts so far:\n%s%5d s  together\n' "$times" "$SECONDS"
}

packages=(faketime gcc libc6-dev pkg-config libnftnl-dev libmnl-dev nftables iproute2 openssh-client openssl procps python3-venv util-linux bsdutils shellcheck pagekite)
# Ubuntu has its browser as a snap only: there, the browser test is counted as ignored.
if grep -qx 'ID=debian' /etc/os-release 2>/dev/null; then packages+=(chromium chromium-driver); fi
install_packages() {
    local missing=()
    for package in "${packages[@]}"; do
        dpkg-query --show --showformat='${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
    done
    [ "${#missing[@]}" -eq 0 ] && return
    if [ "$(id -u)" -ne 0 ]; then
        echo "missing packages: ${missing[*]}; as root: apt-get install ${missing[*]}" >&2
        exit 1
    fi
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null
}

# A machine may have a qemu-utils that no source of its own has: QEMU does not install beside it.
prepare_virtual_labs() {
    if [ "$(id -u)" -ne 0 ] || apt-get --simulate install qemu-system-x86 qemu-utils >/dev/null 2>&1; then return; fi
    local version
    version=$(apt-cache madison qemu-utils | awk 'NR == 1 { print $3 }')
    [ -n "$version" ] || return 0
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends --allow-downgrades install "qemu-utils=$version" >/dev/null
}

begin "packages"
if command -v apt-get >/dev/null; then install_packages; prepare_virtual_labs; fi
if ! command -v cargo >/dev/null && [ -x "$HOME/.cargo/bin/cargo" ]; then PATH="$HOME/.cargo/bin:$PATH"; fi
command -v cargo >/dev/null || { echo "cargo is missing: install rustup, or the distribution's cargo 1.88 or newer" >&2; exit 1; }

# A stand-in of VirtualBox's program is enough for Vagrant to look at that provider's settings.
check_vagrant() {
    if ! command -v vagrant >/dev/null; then
        echo "not checked: vagrant/Vagrantfile (vagrant is not installed)"
        return
    fi
    local stand_in provider wrong=
    stand_in=$(mktemp -d)
    printf '#!/bin/sh\necho 6.1.50r161033\n' >"$stand_in/VBoxManage"
    chmod +x "$stand_in/VBoxManage"
    local environment=(VAGRANT_CHECKPOINT_DISABLE=1 "VAGRANT_DOTFILE_PATH=$stand_in/state" "PATH=$stand_in:$PATH")
    for provider in virtualbox libvirt; do
        if [ "$provider" = libvirt ] && ! env "${environment[@]}" vagrant plugin list | grep -q '^vagrant-libvirt '; then
            echo "not checked: vagrant/Vagrantfile for libvirt (the plugin vagrant-libvirt is not installed)"
            continue
        fi
        env -C vagrant "${environment[@]}" VAGRANT_DEFAULT_PROVIDER=$provider vagrant validate || wrong=$provider
    done
    rm -r "$stand_in"
    [ -z "$wrong" ]
}

check_and_test_without_hosts() {
    begin "formatting"
    cargo fmt --all --check
    begin "lints"
    cargo clippy --locked --all-targets --quiet -- -D warnings
    shellcheck --external-sources bootstrap.sh test.sh .ci/run benches/*.sh benches/by-hand/devstack.sh benches/by-hand/resources.sh profiles/guest/* profiles/notebook/init profiles/notebook/before-driver profiles/notebook/root/usr/local/sbin/* tests/scenario/*.sh vagrant/*.sh
    if command -v cargo-deny >/dev/null; then
        cargo deny --offline check licenses bans sources
    else
        echo "not checked: licences, bans and sources of the crates (cargo-deny is not installed)"
    fi
    begin "Vagrant's settings"
    check_vagrant
    begin "unit tests and interrupted runs"
    cargo test --locked --quiet --lib --bins --test cloud --test interrupted --test plan --test rooms --test hands --test lock --test network --test fetch --test portal
}
if [ "${1:-}" = --only ]; then
    export GPUCLOUD_TEST_ONLY=${2:?which groups? for example: ./test.sh --only network,damage}
else
    check_and_test_without_hosts
fi
if [ "${1:-}" = --fast ]; then
    print_times
    exit
fi
if [ "${1:-}" = --long ]; then export GPUCLOUD_TEST_LONG=1; fi
begin "building what lab hosts run"
cargo build --locked --quiet --examples
cargo test --locked --quiet --test lab --no-run
print_times
printf '\n== whole installations\n'
cargo test --locked --test lab

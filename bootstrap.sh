#!/usr/bin/env bash
# From a checkout to the running program: ./bootstrap.sh [ARGS]. Without ARGS the program's wizard starts.
# ./bootstrap.sh --package [PROGRAM] makes a Debian package instead, for machines without a toolchain, of PROGRAM where
# it was built already; the last line it prints is the package's path.
#
# Takes /usr/local/bin/gpucloud-install where it was built from these very sources; else installs the one that lies beside
# this script or was built here; else builds it. Then it becomes that program. Needs root (asks sudo for it). Everything
# it says goes to standard error.
set -euo pipefail

ME=$(readlink -f -- "${BASH_SOURCE[0]}")
readonly ME HERE=${ME%/*}
readonly BUILT=$HERE/target/release/gpucloud-install
readonly BESIDE=$HERE/gpucloud-install
readonly INSTALLED=/usr/local/bin/gpucloud-install
readonly SOURCES=(src templates profiles Cargo.toml Cargo.lock)
readonly BUILD_PACKAGES=(gcc libc6-dev pkg-config libnftnl-dev libmnl-dev)
# Rust of the distribution, compiler and cargo. Debian 12 has a new one as rustc-web only, for its browsers.
readonly RUST_PACKAGES=("rustc cargo" "rustc-web cargo-web")
# What sudo would drop, although downloads or the toolchain need it.
readonly KEPT_VARIABLES=(http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY SSL_CERT_FILE CARGO_HOME
    RUSTUP_HOME RUSTUP_DIST_SERVER RUSTUP_UPDATE_ROOT)
# Exit statuses of the program: failed, and stopped before anything was changed.
readonly FAILED=1 REFUSED=3

main() {
    again="$ME${*:+ $*}"
    version=$(from_manifest version)
    needed_rust=$(from_manifest rust-version)
    become_root "$@"
    export GPUCLOUD_SOURCES
    GPUCLOUD_SOURCES=$(hash_of_sources)
    if [[ ${1:-} == --package ]]; then
        if [[ $# -ge 2 ]]; then
            [[ $(version_of "$2") ]] || die $REFUSED "$2 is no gpucloud-install that runs here" "./bootstrap.sh --package"
            make_package "$2"
        else
            # Built before, it may be without.
            build --features ngrok
            make_package "$BUILT"
        fi
        return
    fi
    if ! is_of_these_sources "$INSTALLED"; then
        if is_of_this_version "$BESIDE"; then
            install_program "$BESIDE"
        else
            is_of_these_sources "$BUILT" || build
            install_program "$BUILT"
        fi
    fi
    exec "$INSTALLED" "$@"
}

say() {
    printf 'bootstrap: %s\n' "$*" >&2
}

# die STATUS WHAT NEXT
die() {
    say "$2. Next: $3"
    exit "$1"
}

from_manifest() {
    sed -n "/^$1 *=/{s/.*\"\(.*\)\".*/\1/p;q}" "$HERE/Cargo.toml"
}

become_root() {
    if [[ $EUID -eq 0 ]]; then return; fi
    if ! command -v sudo >/dev/null; then
        die $REFUSED "installing needs root, and there is no sudo" "become root with su, then: $again"
    fi
    if ! { : </dev/tty; } 2>/dev/null && ! sudo --non-interactive true 2>/dev/null; then
        die $REFUSED "sudo wants a password, and there is no terminal" "as root: $again"
    fi
    local options=() name
    for name in "${KEPT_VARIABLES[@]}"; do
        if [[ -n ${!name:-} ]]; then options+=("--preserve-env=$name"); fi
    done
    exec sudo "${options[@]}" -- bash "$ME" "$@"
}

# Names the sources: the program says it with its version (src/cli.rs).
hash_of_sources() {
    cd "$HERE"
    find "${SOURCES[@]}" -type f -print0 | LC_ALL=C sort --zero-terminated | xargs -0 sha256sum | sha256sum | cut -c 1-12
}

is_of_these_sources() {
    [[ $(version_of "$1") == "gpucloud-install $version (sources $GPUCLOUD_SOURCES)" ]]
}

is_of_this_version() {
    [[ $(version_of "$1") == "gpucloud-install $version"* ]]
}

version_of() {
    if [[ -f $1 && -x $1 ]]; then "$1" --version </dev/null 2>/dev/null; fi
}

install_program() {
    local new=$INSTALLED.new.$$
    mkdir -p -- "${INSTALLED%/*}"
    if ! { install --mode=755 -- "$1" "$new" && sync -- "$new" && mv -fT -- "$new" "$INSTALLED"; }; then
        rm -f -- "$new"
        die $FAILED "$INSTALLED cannot be written" "make room or mount it writable, then: $again"
    fi
    install_help "$INSTALLED" /usr/local/share || say "without completions and manual pages: /usr/local/share cannot be written"
    say "installed $INSTALLED"
}

# install_help PROGRAM SHARE: what shells complete, and the manual.
install_help() {
    local shell place zsh=vendor-completions
    if [[ $2 == /usr/local/* ]]; then zsh=site-functions; fi
    for shell in bash:bash-completion/completions/gpucloud-install "zsh:zsh/$zsh/_gpucloud-install" \
        fish:fish/vendor_completions.d/gpucloud-install.fish; do
        place=$2/${shell#*:}
        mkdir -p -- "${place%/*}" && "$1" completions "${shell%%:*}" >"$place" || return
    done
    "$1" man --output "$2/man/man1"
}

# make_package PROGRAM: a binary package of it, without what only debuggers read; it depends on what dpkg-shlibdeps(1)
# finds in the program.
make_package() {
    install_packages dpkg-dev binutils
    local architecture tree package depends
    architecture=$(dpkg --print-architecture)
    tree=$HERE/target/package
    package=$HERE/target/gpucloud-install_${version}_$architecture.deb
    rm -rf -- "$tree"
    install -D --mode=755 --strip -- "$1" "$tree/usr/bin/gpucloud-install"
    install -D --mode=644 -t "$tree/usr/share/doc/gpucloud-install" -- "$HERE"/{README.md,LICENSE-MIT,LICENSE-APACHE}
    install_help "$1" "$tree/usr/share" || die $FAILED "completions and manual pages cannot be made" "see above, then: $again"
    gzip --best --no-name -- "$tree"/usr/share/man/man1/*.1
    mkdir -p -- "$tree/debian" "$tree/DEBIAN"
    : >"$tree/debian/control"
    depends=$(cd "$tree" && dpkg-shlibdeps -O usr/bin/gpucloud-install 2>/dev/null | sed -n 's/^shlibs:Depends=//p')
    rm -r -- "$tree/debian"
    cat >"$tree/DEBIAN/control" <<EOF
Package: gpucloud-install
Version: $version
Architecture: $architecture
Maintainer: The founders of gpucloud-install <maintainers@example.org>
Depends: $depends
Section: admin
Priority: optional
Description: installs a private GPU cloud (OpenStack) on one machine
 It asks a few questions, shows what it will change, asks once more, and
 installs. Every change is written to a journal first and can be taken back.
EOF
    dpkg-deb --root-owner-group --build "$tree" "$package" >&2 ||
        die $FAILED "the package cannot be made, see above" "mend that, then: $again"
    printf '%s\n' "$package"
}

# build [OPTION]...: of cargo build.
build() {
    choose_builder
    find_rust || install_rust
    install_packages "${BUILD_PACKAGES[@]}"
    say "building gpucloud-install $version with Rust $rust_version; this takes some minutes"
    local options=(--release --locked --target-dir "$HERE/target" --bin gpucloud-install "$@")
    if [[ ! -t 2 ]]; then options+=(--quiet); fi
    as_builder cargo build "${options[@]}" || die $FAILED "the build failed, see above" "mend that, then: $again"
    [[ -x $BUILT ]] || die $FAILED "cargo left no $BUILT" "look for build.target in cargo's configuration, then: $again"
}

# Who builds: the person behind sudo, so that target/ and the crates do not become root's; root where that person may
# not write here.
choose_builder() {
    builder=root
    home=$(home_of root)
    local person=${SUDO_USER:-root}
    if [[ $person != root ]] && may_build "$person"; then
        builder=$person
        home=$(home_of "$person")
    fi
    rust_directory=
}

may_build() {
    local path=$HERE
    if [[ -e $HERE/target ]]; then path=$HERE/target; fi
    runuser -u "$1" -- test -w "$path"
}

home_of() {
    getent passwd "$1" | cut -d : -f 6
}

as_builder() {
    local words=(env "--chdir=$HERE" "GPUCLOUD_SOURCES=$GPUCLOUD_SOURCES" "HOME=$home" "PATH=${rust_directory:+$rust_directory:}$PATH")
    if [[ -z ${RUSTUP_HOME:-} && $rust_directory == */.cargo/bin ]]; then
        # Root may build with a person's toolchain: rustup would look for it in root's home.
        words+=("RUSTUP_HOME=${rust_directory%/.cargo/bin}/.rustup")
    fi
    if [[ $builder != root ]]; then words=(runuser -u "$builder" -- "${words[@]}"); fi
    "${words[@]}" "$@" </dev/null
}

# Looks for a Rust that is new enough: on PATH, in the builder's home, in that of the person behind sudo.
find_rust() {
    local directories=() directory
    directory=$(command -v cargo) && directories+=("${directory%/*}")
    directories+=("${CARGO_HOME:-$home/.cargo}/bin" "$(home_of "${SUDO_USER:-root}")/.cargo/bin" /usr/bin)
    for directory in "${directories[@]}"; do
        if use_rust "$directory"; then return; fi
    done
    return 1
}

use_rust() {
    [[ -x $1/cargo && -x $1/rustc ]] || return
    rust_directory=$1
    rust_version=$(as_builder rustc --version 2>/dev/null | cut -d ' ' -f 2)
    if is_enough "$rust_version"; then return; fi
    rust_directory=
    return 1
}

is_enough() {
    printf '%s\n' "$needed_rust" "$1" | sort --version-sort --check=quiet
}

install_rust() {
    command -v apt-get >/dev/null || refuse_without_rust
    refresh_index
    local pair
    for pair in "${RUST_PACKAGES[@]}"; do
        if is_enough "$(offered "${pair% *}")" && is_enough "$(offered "${pair#* }")"; then
            if add_packages "${pair% *}" "${pair#* }" && use_rust /usr/bin; then return; fi
        fi
    done
    install_toolchain
}

# The version in which the distribution offers a package; nothing where it does not.
offered() {
    LC_ALL=C apt-cache policy "$1" 2>/dev/null | sed -n 's/^  Candidate: \([0-9].*\)/\1/p'
}

# The last way: rustup, the person's own or the distribution's (in Ubuntu 24.04 and Debian 13).
install_toolchain() {
    local own=${CARGO_HOME:-$home/.cargo}/bin
    if [[ -x $own/rustup ]]; then
        rust_directory=$own
    elif [[ -n $(offered rustup) ]]; then
        add_packages rustup ||
            die $FAILED "rustup cannot be installed, see above" "apt-get remove rustc cargo, then: $again"
        rust_directory=/usr/bin
    else
        refuse_without_rust
    fi
    say "downloading Rust with rustup"
    as_builder rustup --quiet toolchain install stable --profile minimal ||
        die $FAILED "rustup cannot install Rust, see above" "install it from https://rustup.rs, then: $again"
    # The person's default toolchain stays what it is.
    export RUSTUP_TOOLCHAIN=stable
    use_rust "$rust_directory" ||
        die $FAILED "the Rust that rustup installed is older than $needed_rust" "rustup update stable, then: $again"
}

refuse_without_rust() {
    die $REFUSED "there is no Rust $needed_rust or newer, nor a package of it" \
        "install it from https://rustup.rs, then: $again"
}

install_packages() {
    add_packages "$@" || die $FAILED "packages cannot be installed, see above" "mend that, then: $again"
}

# Installs those of these packages that are missing.
add_packages() {
    local missing=() name
    for name in "$@"; do
        if ! is_installed "$name"; then missing+=("$name"); fi
    done
    if [[ ${#missing[@]} -eq 0 ]]; then return; fi
    command -v apt-get >/dev/null ||
        die $REFUSED "missing: ${missing[*]}, and there is no apt-get here" "install them, then: $again"
    refresh_index
    say "installing ${missing[*]}"
    apt_get install --no-install-recommends --no-remove -- "${missing[@]}"
}

is_installed() {
    [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]
}

refresh_index() {
    if [[ -n ${index_is_fresh:-} ]]; then return; fi
    say "reading the package lists"
    apt_get update || say "the package lists cannot be refreshed, see above; going on with those that are here"
    index_is_fresh=yes
}

# apt-get without questions, waiting for dpkg's lock; its output is shown only when it fails.
apt_get() {
    local output
    if output=$(DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 LC_ALL=C.UTF-8 \
        apt-get --quiet=2 -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 --yes "$@" </dev/null 2>&1); then
        return
    fi
    tail -n 10 <<<"$output" >&2
    return 1
}

main "$@"

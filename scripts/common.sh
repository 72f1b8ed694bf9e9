# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
#
# What the scripts share: messages, the cache outside the tree, and Debian packages used as files.
#
# A package is fetched with `apt-get download` and unpacked with dpkg-deb, never installed: that needs no root, leaves
# the host as it is, and apt has verified the archive's signature and the file's hash.

# Python comes from Debian: other versions in PATH lack its modules.
# shellcheck disable=SC2034
python=/usr/bin/python3

say() {
    printf '%s\n' "$*" >&2
}

die() {
    say "${0##*/}: $*"
    exit 1
}

# cache_dir NAME - prints the cache directory for NAME and makes sure that it exists.
cache_dir() {
    local home dir
    home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}
    dir="${XDG_CACHE_HOME:-$home/.cache}/boxlite/$1"
    # Where nobody has a home of their own, the tree is writable at least.
    if ! { mkdir -p "$dir" && [ -w "$dir" ]; } 2>/dev/null; then
        say "cannot write to $dir (XDG_CACHE_HOME names another place); using $PWD/build-cache"
        dir=$PWD/build-cache/$1
        mkdir -p "$dir" || die "cannot create the cache directory $dir; set XDG_CACHE_HOME to a writable place"
    fi
    printf '%s\n' "$dir"
}

# package_version NAME - prints the version that apt would fetch, or nothing.
package_version() {
    apt-cache show --no-all-versions "$1" 2>/dev/null | awk '/^Version: / && !version { version = $2 } END { print version }' || true
}

# update_lists - `apt-get update`, when we may.
update_lists() {
    [ "$(id -u)" = 0 ] || return 0
    say "updating the package lists (apt-get update)"
    # A source that we do not need may be down; what we do need shows itself right after.
    apt-get -qq -o DPkg::Lock::Timeout=600 -o Acquire::Retries=5 update >&2 ||
        say "apt-get update had trouble, see above; going on with what it got"
}

# from_archive COMMAND... - something that fetches from the archive; again, with new lists, when it fails: a network has its
# moments, and old lists name files that the archive no longer has.
from_archive() {
    local pause
    for pause in 2 15 0; do
        "$@" && return
        [ "$pause" = 0 ] || { sleep "$pause" && update_lists; }
    done
    return 1
}

# need_package_lists NAME - makes sure that apt knows NAME.
need_package_lists() {
    [ -n "$(package_version "$1")" ] && return
    update_lists
    [ -n "$(package_version "$1")" ] ||
        die "apt knows no package $1; as root run: apt-get update (this needs Debian 12 and its security archive)"
}

# download_package NAME DIR - gets its file. (apt would drop to a user of its own that cannot write there, and warn about it.)
download_package() {
    (cd "$2" && apt-get -qq -o APT::Sandbox::User="$(id -un)" -o Acquire::Retries=5 download "$1") >&2
}

# unpack_package NAME DIR - downloads NAME and unpacks its files into DIR.
unpack_package() {
    local name=$1 dir=$2 tmp
    tmp=$(mktemp -d "$dir/.download.XXXXXX")
    from_archive download_package "$name" "$tmp" || die "cannot download the package $name; check the network, and run: apt-get update"
    dpkg-deb --fsys-tarfile "$tmp"/*.deb | tar -x -C "$dir" || die "cannot unpack the package $name"
    rm -rf "$tmp"
}

# intact DIR - whether DIR holds everything that its list of checksums names, undamaged.
intact() {
    [ -f "$1/SHA256SUMS" ] && (cd "$1" && sha256sum --quiet -c SHA256SUMS) >/dev/null 2>&1
}

# in_cache DIR KEY FUNCTION - makes sure that DIR/KEY is complete: FUNCTION WORK fills WORK/result when it is not.
#
# Whoever comes second waits for the first and uses its result. What is there is complete: it is built elsewhere in DIR,
# listed with its checksums, and renamed. The lock is not inherited, so no stray child can keep it.
in_cache() {
    local dir=$1 key=$2 function=$3
    ! intact "$dir/$key" || return 0
    exec 9>"$dir/$key.lock"
    flock -n 9 || { say "another process is making $dir/$key; waiting for it" && flock 9; }
    if ! intact "$dir/$key"; then
        # Earlier ones that were killed left their trees; holding the lock says that they are gone.
        rm -rf "${dir:?}/$key" "$dir/.work.$key".*
        work=$(mktemp -d "$dir/.work.$key.XXXXXX")
        trap 'rm -rf "$work"' EXIT
        mkdir "$work/result"
        "$function" "$work" 9>&-
        (cd "$work/result" && find . -type f -print0 | sort -z | xargs -0 sha256sum >"$work/sums")
        mv "$work/sums" "$work/result/SHA256SUMS"
        sync -f "$work/result/SHA256SUMS"
        mv -T "$work/result" "$dir/$key"
        rm -rf "$work"
    fi
    exec 9>&-
}

# place FILE TARGET - TARGET becomes a copy of FILE, at once or not at all; an equal one only becomes newer.
place() {
    mkdir -p "$(dirname "$2")"
    cmp -s "$1" "$2" && touch "$2" && return
    cp --reflink=auto "$1" "$2.new.$$"
    mv -f "$2.new.$$" "$2"
}

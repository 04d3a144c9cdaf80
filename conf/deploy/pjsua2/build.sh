#!/usr/bin/env bash
# Builds the pjsua2 wheel for production: pjproject from Debian's source package `asterisk` (suite sid, component
# Xpjproject), with the limits of config_site.h, against this system's OpenSSL, libsrtp and Opus. docs/pjsua2.md
#
#   build.sh PYTHON     PYTHON has hatchling; the wheel's path goes to stdout, all else to stderr
#
# What is downloaded and built stays in PJSUA2_CACHE (default ~/.cache/sipua). A wheel's folder there is named for the
# hash of the source, the hash of this recipe and the system; the Python version stands in the wheel's own name.
# Needs no root, unless build packages are missing.
set -euo pipefail
shopt -s inherit_errexit
exec 3>&1 >&2 # stdout is for the result

python=$(cd "$(dirname "$1")" && pwd)/$(basename "$1") # not resolved: a link out of a venv is the venv's python
ask_python() { "$python" -c "import sys, sysconfig; print($1)"; }
include=$(ask_python 'sysconfig.get_path("include")')
suffix=$(ask_python 'sysconfig.get_config_var("EXT_SUFFIX")')
tag=$(ask_python '"cp%d%d" % sys.version_info[:2]')
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=${PJSUA2_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/sipua}/pjsua2
keyring=${DEBIAN_KEYRING:-/usr/share/keyrings/debian-archive-keyring.gpg}
packages=(build-essential swig libssl-dev libsrtp2-dev libopus-dev libsamplerate0-dev uuid-dev)

say() { echo "pjsua2: $*"; }
die() { say "$*"; exit 1; }

install_packages() {
    local missing=() package as
    [ -e "$include/Python.h" ] || packages+=("$(ask_python '"python%d.%d-dev" % sys.version_info[:2]')")
    for package in "${packages[@]}"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if [ "$(id -u)" = 0 ]; then as=; elif sudo -n true 2>/dev/null; then as='sudo -n'; else
        die "not root, and packages are missing: apt-get install ${missing[*]}"
    fi
    say "installing ${missing[*]}"
    { $as apt-get -qq update && $as env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq -y --no-install-recommends install "${missing[@]}" >/dev/null; } \
        || die "apt-get could not install ${missing[*]}"
}

# apt with lists and cache of our own: the system's are neither read nor changed, and nothing unsigned is taken.
apt_own() {
    "$@" -o Dir::Etc::sourcelist="$cache/apt/sid.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$cache/apt/lists" -o Dir::Cache="$cache/apt/cache" -o APT::Sandbox::User=root \
        -o Acquire::AllowInsecureRepositories=false -o Acquire::AllowWeakRepositories=false \
        -o APT::Update::Error-Mode=any -o APT::Get::Only-Source=true
}

# The archive that this system installs from; any other by DEBIAN_MIRROR.
mirror() {
    local release
    # shellcheck disable=SC1091
    release=$(. /etc/os-release && echo "$VERSION_CODENAME")
    apt-get --print-uris update 2>/dev/null | sed -n "s|^'\(.*\)/dists/$release/.*|\1|p" | head -n 1
}

# Sets url, file and sha256 as the archive's signed index has them now.
find_source() {
    local archive=${DEBIAN_MIRROR:-$(mirror)} line
    [ -n "$archive" ] || die "no Debian archive among apt's sources: set DEBIAN_MIRROR to the address of one"
    [ -r "$keyring" ] || die "$keyring is missing: apt-get install debian-archive-keyring"
    mkdir -p "$cache/apt/lists/partial" "$cache/apt/cache/archives/partial"
    echo "deb-src [signed-by=$keyring] $archive sid main" >"$cache/apt/sid.list"
    apt_own apt-get -qq update || say "the archive's index could not be brought up to date"
    line=$(apt_own apt-get -qq source --print-uris asterisk | grep -m 1 -F .orig-Xpjproject.tar.) \
        || die "no signed index with a source package asterisk that holds pjproject"
    read -r url file _ sha256 <<<"${line//\'/}"
    [[ $sha256 =~ ^SHA256:[0-9a-f]{64}$ ]] || die "the index has no SHA-256 for $file"
    sha256=${sha256#SHA256:}
}

# Downloads it unless it is there, and checks it either way.
fetch_source() {
    if ! sha256sum --status -c <<<"$sha256  $cache/source/$file" 2>/dev/null; then
        say "downloading $file"
        rm -f "$cache/source/$file"
        apt_own /usr/lib/apt/apt-helper -qq download-file "$url" "$cache/source/$file" "SHA256:$sha256"
        sha256sum --status -c <<<"$sha256  $cache/source/$file" || die "$file is not what the signed index says"
    fi
}

compile() {
    local jobs cxx
    jobs=$(nproc)
    tar -xf "$cache/source/$file" --strip-components=1
    cp "$here/config_site.h" pjlib/include/pj/config_site.h
    : >pjmedia/src/pjmedia-audiodev/bdimad_dev.c # removed by Debian, still in the list of objects
    # 2.17 offers real-time text (m=text) in every call unless each request says otherwise
    sed -i 's/opt->txt_cnt = 1;/opt->txt_cnt = 0;/' pjsip/src/pjsua-lib/pjsua_call.c
    # the one limit that no function of the library tells
    echo 'PJ_DEF(unsigned) sipua_max_accounts(void) { return PJSUA_MAX_ACC; }' >>pjsip/src/pjsua-lib/pjsua_acc.c
    export CFLAGS='-O2 -fPIC -DNDEBUG -fstack-protector-strong -D_FORTIFY_SOURCE=2'
    export CXXFLAGS=$CFLAGS LDFLAGS='-Wl,-z,relro,-z,now -s'
    ./aconfigure --enable-epoll --with-external-srtp --enable-libsamplerate --disable-video --disable-sound \
        --disable-sdl --disable-ffmpeg --disable-v4l2 --disable-openh264 --disable-vpx --disable-libyuv \
        --disable-libwebrtc --disable-speex-aec --disable-speex-codec --disable-ilbc-codec --disable-gsm-codec \
        --disable-g7221-codec --disable-opencore-amr --disable-silk --disable-bcg729 --disable-lyra --disable-upnp
    grep -q '^#define PJ_HAS_SSL_SOCK 1' pjlib/include/pj/compat/os_auto.h || die "configure found no OpenSSL"
    grep -q '^#define PJMEDIA_HAS_OPUS_CODEC 1' pjmedia/include/pjmedia-codec/config_auto.h || die "configure found no Opus"
    # the wrapper (one file, a third of the time) needs the headers only: it is compiled beside the libraries
    cd pjsip-apps/src/swig/python # and here it stays, for pack
    make pjsua2_wrap.cpp
    mapfile -t cxx < <(make --no-print-directory -f helper.mak cflags)
    g++ "${cxx[@]}" -I"$include" -c pjsua2_wrap.cpp -o pjsua2_wrap.o &
    make -C "$OLDPWD" -j"$jobs" lib
    wait $!
    mapfile -t ld < <(make --no-print-directory -f helper.mak ldflags; make --no-print-directory -f helper.mak libs | sed 's/^/-l/')
    g++ -shared -o "_pjsua2$suffix" pjsua2_wrap.o "${ld[@]}"
}

# The distribution is named pjsua2, as upstream's; its version tells source and recipe.
pack() {
    local version
    version=$(sed -n 's/.*PJ_VERSION_\(MAJOR\|MINOR\|REV\) *:= *\([0-9]\+\)/\2/p' ../../../../version.mak | paste -sd.)
    cat >pyproject.toml <<TOML
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "pjsua2"
version = "$version+sipua.${sha256:0:8}.${recipe:0:8}"
description = "pjsua2 of pjproject $version, from Debian's ${file%.orig-*}, with sipua's limits"
license = "GPL-2.0-or-later"
classifiers = ["Private :: Do Not Upload"]

[tool.hatch.build]
ignore-vcs = true

[tool.hatch.build.targets.wheel]
only-include = ["pjsua2.py", "_pjsua2$suffix"]

[tool.hatch.build.targets.wheel.hooks.custom]
path = "hook.py"
TOML
    cat >hook.py <<PYTHON
from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class Hook(BuildHookInterface):
    def initialize(self, version, build_data):
        build_data.update(pure_python=False, infer_tag=True)
PYTHON
    "$python" -m hatchling build -t wheel -d "$1"
}

install_packages
mkdir -p "$cache/source" "$cache/wheels"
exec 9>"$cache/lock"
flock 9 # two makes at once: the second one finds the first one's wheel
find_source
# shellcheck disable=SC1091
recipe=$(cat "$here/build.sh" "$here/config_site.h" /etc/os-release | sha256sum)
folder=$cache/wheels/${sha256:0:16}-${recipe:0:16}
wheel=$(find "$folder" -name "*-$tag-linux_$(uname -m).whl" 2>/dev/null || true)
if [ -z "$wheel" ]; then
    fetch_source
    say "building ${file%.orig-*} for $tag on $(nproc) cores (some minutes; log: $cache/build.log)"
    started=$SECONDS
    work=$(mktemp -d "$cache/work.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    set +e # in a condition bash would not stop at the first error of the subshell
    (set -e; cd "$work"; compile; pack "$work/dist") >"$cache/build.log" 2>&1
    failed=$?
    set -e
    [ $failed = 0 ] || { grep -E 'error: |\*\*\*|^pjsua2: ' "$cache/build.log" | head -n 8; die "the build failed: $cache/build.log"; }
    mkdir -p "$folder"
    mv "$work"/dist/*.whl "$folder"
    wheel=$(find "$folder" -name "*-$tag-linux_$(uname -m).whl")
    say "built in $((SECONDS - started)) s"
fi
# what belongs to another version of the source or of the recipe
find "$cache/source" -type f ! -name "$file" -delete
find "$cache/wheels" -mindepth 1 -maxdepth 1 ! -path "$folder" -exec rm -rf {} +
say "Debian's ${file%.orig-*}: $(basename "$wheel")"
echo "$wheel" >&3

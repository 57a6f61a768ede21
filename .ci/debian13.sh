#!/usr/bin/env bash
# The checkout on a bare Debian 13 (Python 3.13): set-up from the locks, the data of the pocket suite, a published figure
# and the quick tests of the stages before training; about four minutes on two idle cores. Skipped, in one line, where no
# such system can be built.
#
# torch is installed where a source has its wheel, and the stages that need it (training, evaluation) are then run too.
# Where none has, set-up must refuse in its one line before it downloads anything large, and the other locks are proven
# alone. Another suite of Debian: .ci/debian13.sh sid
set -euo pipefail
cd "$(dirname "$0")/.."
suite=${1:-trixie}
skip() { echo "debian13: skipped: $1"; exit 0; }

[ "$(uname -s)" = Linux ] && [ "$(id -u)" = 0 ] || skip "a Debian root is built by root on Linux only"
unshare --mount true 2>/dev/null || skip "this machine does not let root mount"
export DEBIAN_FRONTEND=noninteractive
if ! command -v debootstrap >/dev/null && command -v apt-get >/dev/null; then
    apt-get update -qq && apt-get install -y -qq --no-install-recommends debootstrap >/dev/null || true
fi
command -v debootstrap >/dev/null || skip "debootstrap is not installed"
[ -e "/usr/share/debootstrap/scripts/$suite" ] || skip "this debootstrap does not know $suite"

# A mount namespace of its own: what debootstrap and the steps below mount ends with it, so that nothing of this machine is
# under the folder when it is removed.
if [ "${PYTHIA_NAMESPACE:-}" = "" ]; then PYTHIA_NAMESPACE=1 exec unshare --mount bash .ci/debian13.sh "$@"; fi

root=$(mktemp -d "${TMPDIR:-/tmp}/debian13.XXXXXX")
trap 'umount --quiet --lazy --recursive "$root/dev" "$root/proc" || true; rm -rf --one-file-system "$root"' EXIT
# The Debian mirror that this machine uses itself; debootstrap's own where it uses none.
mirror=$(apt-get indextargets --format '$(SITE)' 'Component: main' 2>/dev/null | grep -m1 '/debian/*$' || true)
packages=python3,python3-venv,make,git,ca-certificates
timeout 900 debootstrap --variant=minbase --include=$packages "$suite" "$root" ${mirror:+"$mirror"} >"$root.log" 2>&1 ||
    { reason=$(tail -n1 "$root.log"); rm -f "$root.log"; skip "$suite could not be built: $reason"; }
rm -f "$root.log"
mkdir "$root/srv/pythia"
git ls-files -z | tar --null --files-from=- --create | tar --extract --directory "$root/srv/pythia"
# The certificates that this machine trusts; its folders of wheels are not in the root.
cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/" 2>/dev/null || true
export root PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore PIP_QUIET=1 PIP_FIND_LINKS= LC_ALL=C.UTF-8 HOME=/root
unset PYTHONPATH VIRTUAL_ENV
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

cat >"$root/srv/steps" <<'STEPS'
set -euo pipefail
cd /srv/pythia
python3 -c 'import platform; print("debian13:", open("/etc/debian_version").read().strip(), "Python", platform.python_version())'
if make setup-dev 2>setup.err; then
    torch=yes
else
    cat setup.err
    [ "$(grep -c ^setup: setup.err)" = 1 ] && grep -q "no source served the torch" setup.err
    [ "$(du -sm .venv | cut -f1)" -lt 100 ]   # MB: nothing large came before the refusal
    .venv/bin/python -c 'import bootstrap; bootstrap.install("base"); bootstrap.install("dev")'
    torch=no
fi
.venv/bin/snakemake --dry-run --quiet all >/dev/null
if [ $torch = yes ]; then
    make demo
else
    .venv/bin/snakemake --workflow-profile profiles/local --logger brief --configfile config/config.yaml -- data
fi
.venv/bin/snakemake --workflow-profile profiles/local --logger brief --configfile config/runs/published.yaml -- \
    results/runs/published/figures/published_lambada.svg
.venv/bin/python -m pytest -q -m "not slow" tests/dataset tests/storage tests/published tests/test_cli.py tests/test_layers.py
echo "debian13: passed; torch installed: $torch"
STEPS
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
timeout 900 chroot "$root" bash /srv/steps

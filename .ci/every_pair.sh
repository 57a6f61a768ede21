#!/usr/bin/env bash
# Each lock on each of the twelve pairs of platform and Python, as uv would install it there: nothing is downloaded but what
# the index says of the packages. torch's CPU wheels for Linux are on an index of their own (TORCH_INDEX); where it cannot be
# reached, they are left to the test that reads their recorded names.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=$(command -v uv || echo .venv/bin/uv)
target=$(mktemp -d)
trap 'rm -rf "$target"' EXIT
export MACOSX_DEPLOYMENT_TARGET=14.0
passed=0 failed=0 skipped=0
while IFS=$'\t' read -r lock platform _ pythons; do
    case $platform in
        linux_x86_64) name=x86_64-manylinux_2_28 ;;
        linux_aarch64) name=aarch64-manylinux_2_28 ;;
        macosx_arm64) name=aarch64-apple-darwin ;;
    esac
    for python in $pythons; do
        if [ "$lock" = torch-cpu ] && [ "$platform" != macosx_arm64 ] && [ -z "${TORCH_INDEX:-}" ]; then
            skipped=$((skipped + 1))
            continue
        fi
        # Only these five may come as source archives, and only where they have no wheel.
        if "$uv" pip install --dry-run --quiet --no-deps --require-hashes --target "$target" --only-binary :all: \
            --no-binary connection-pool --no-binary rouge-score --no-binary sqlitedict --no-binary word2number \
            $([ "$python" = 3.14 ] && echo --no-binary immutables) ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
            --python-platform $name --python-version "$python" -r "envs/$lock.lock"; then
            passed=$((passed + 1))
        else
            echo "every pair: envs/$lock.lock cannot be installed for Python $python on $platform"
            failed=$((failed + 1))
        fi
    done
done < <(tail -n +2 envs/platforms.tsv)
echo "every pair: $passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]

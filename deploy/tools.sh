#!/usr/bin/env bash
# Gets what the tests need: foreign phones and tools from Debian, and a real Vault server built from its Go modules.
# What can't be had is named; the tests that need it say so and are skipped.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. deploy/need.sh
need baresip baresip-core linphonec linphone-cli sipp sip-tester tcpdump tcpdump ip iproute2 nft nftables \
	openssl openssl gcc gcc clang-14 clang-14 llvm-strip-14 llvm-14 kamailio kamailio \
	|| echo "some tests will be skipped"
dpkg -s libc6-dev >/dev/null 2>&1 || need no-such-command libc6-dev
deploy/vault/build.sh || echo "no Vault server could be built; its tests will be skipped"

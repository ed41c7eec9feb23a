#!/usr/bin/env bash
# Gets what the tests need: foreign phones and tools from Debian, and a real Vault server built from its Go modules.
# What can't be had is named; the tests that need it fail and say so.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
. deploy/need.sh
need baresip-core python3-aiosmtpd chromium linphone-cli sip-tester kamailio kamailio-tls-modules tcpdump iproute2 ethtool procps \
	gcc libc6-dev clang-14 llvm-14 || echo "some tests will fail for want of these"
command -v npm >/dev/null 2>&1 || need npm || echo "the tests with a browser will fail"
deploy/lab/browser/build.sh >/dev/null || echo "no JsSIP could be fetched; the tests with a browser will fail"
# These bring services that would start on a person's machine, and a tool with many files; their tests are skipped where they are not.
if [ -n "${CI:-}" ]; then
	need fail2ban curl crowdsec-custom-bouncer prometheus tshark || echo "the tests with foreign ban tools and Wireshark will be skipped"
fi
deploy/vault/build.sh || echo "no Vault server could be built; its tests will fail"

#!/usr/bin/env bash
# make check, after the linters: committed BPF objects match their sources, the build is the same twice, no known
# vulnerability where the database can be reached, shell scripts are clean.
set -euo pipefail
cd "$(dirname "$0")/.."
. deploy/need.sh

echo "== generated code"
need clang-14 llvm-14
go test -count=1 -run TestGeneratedIsFresh ./bpf ./bpf/filterbench

echo "== reproducible build"
a=$(mktemp -d) b=$(mktemp -d)
trap 'rm -rf "$a" "$b"' EXIT
for out in "$a" "$b"; do
	CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '-s -w' -o "$out/" ./sbc ./pbx
done
cmp "$a/sbc" "$b/sbc"
cmp "$a/pbx" "$b/pbx"

echo "== known vulnerabilities"
if ! timeout 60 go tool govulncheck ./... >"$a/vuln" 2>&1; then
	if grep -q 'Vulnerability #' "$a/vuln"; then
		cat "$a/vuln"
		exit 1
	fi
	echo "not checked: the vulnerability database can't be reached from here"
fi

echo "== shell scripts"
if need shellcheck; then
	shellcheck -x -e SC1091 deploy/*.sh deploy/vault/*.sh .ci/run
fi
echo "check: all good"

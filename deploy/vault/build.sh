#!/bin/sh
# build.sh builds the Vault server that the tests talk to (deploy/vault/devserver) and prints the binary's path.
#
# The binary is cached outside the tree, keyed by what it is built from, so that only the first call takes minutes:
#   ${XDG_CACHE_HOME:-~/.cache}/brickhouse/vault-devserver-<key>
# What it does is said on standard error; only the path goes to standard output. Two calls at once are safe: one waits.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
src=$here/devserver
go=${GO:-go}

key=$({ cat "$src/go.mod" "$src/go.sum" "$src"/*.go; "$go" env GOVERSION GOOS GOARCH; } | sha256sum | cut -c1-16)
dir=${XDG_CACHE_HOME:-${HOME:?HOME is not set and XDG_CACHE_HOME neither}/.cache}/brickhouse
bin=$dir/vault-devserver-$key

if [ ! -x "$bin" ]; then
	mkdir -p "$dir"
	exec 9>"$dir/vault-devserver.lock"
	flock 9
	if [ ! -x "$bin" ]; then
		echo "vault: building the test server (Vault v1.13.1, first time only, takes a few minutes) ..." >&2
		(cd "$src" && CGO_ENABLED=0 GOFLAGS='' GOWORK=off nice -n 10 "$go" build -mod=readonly -buildvcs=false \
			-trimpath -ldflags '-s -w' -o "$bin.tmp" .)
		mv "$bin.tmp" "$bin"
		echo "vault: built $bin" >&2
	fi
fi
echo "$bin"

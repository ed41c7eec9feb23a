#!/bin/sh
# build.sh makes one file of JsSIP (package-lock.json names its bytes) for the browser of the lab and prints its path.
#
# It is cached outside the tree, keyed by what it is made of. What is done is said on standard error. Two calls at once are safe.
set -eu

here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
key=$(cat "$here/package.json" "$here/package-lock.json" "$here/build.sh" | sha256sum | cut -c1-16)
dir=${XDG_CACHE_HOME:-${HOME:?HOME is not set and XDG_CACHE_HOME neither}/.cache}/brickhouse
out=$dir/jssip-$key.js

if [ ! -s "$out" ]; then
	mkdir -p "$dir"
	exec 9>"$dir/jssip.lock"
	flock 9
	if [ ! -s "$out" ]; then
		echo "browser: fetching JsSIP ..." >&2
		work=$(mktemp -d)
		trap 'rm -rf "$work"' EXIT
		cp "$here/package.json" "$here/package-lock.json" "$work"
		(cd "$work" && npm ci --no-audit --no-fund --loglevel=error >&2 &&
			node_modules/.bin/esbuild jssip --bundle --minify --format=iife --global-name=JsSIP --outfile="$out.tmp" --log-level=warning >&2)
		mv "$out.tmp" "$out"
	fi
fi
echo "$out"

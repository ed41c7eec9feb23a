#!/bin/bash
# Sourced: `need PACKAGE …` installs the Debian packages that are missing, and says so. Returns 1 where it can't.
need() {
	local missing=() p
	for p in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing+=("$p")
	done
	[ ${#missing[@]} -eq 0 ] && return 0
	if ! command -v apt-get >/dev/null 2>&1; then
		echo "missing: ${missing[*]} (no apt-get here: install them by hand)" >&2
		return 1
	fi
	local sudo=()
	if [ "$(id -u)" -ne 0 ]; then
		sudo=(sudo -n)
		if ! "${sudo[@]}" true 2>/dev/null; then
			echo "missing: ${missing[*]} (not root and no sudo: run 'apt-get install ${missing[*]}' as root)" >&2
			return 1
		fi
	fi
	echo "installing from Debian: ${missing[*]}"
	"${sudo[@]}" apt-get update -qq >/dev/null &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

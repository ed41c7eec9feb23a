#!/usr/bin/env bash
# make run: configures if need be, starts exchange and border, shows a call, and stays up until Ctrl-C.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$1 address=$2 base=$3
pids=()

# shellcheck disable=SC2317,SC2329  # called by trap
finish() {
	trap - EXIT INT TERM
	for pid in "${pids[@]}"; do kill -TERM "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	[ ! -e "$dir/sbc.yaml" ] || bin/sbc detach -c "$dir/sbc.yaml" || true
	echo "stopped."
}
trap finish EXIT
trap 'exit 0' INT TERM

if [ ! -e "$dir/sbc.yaml" ] || [ ! -e "$dir/pbx.yaml" ]; then
	echo "== no configuration in $dir: writing one"
	bin/pbx quickstart "$dir" --address "$address" --port-base "$base"
	bin/sbc quickstart "$dir" --address "$address" --port-base "$base"
fi
bin/pbx check -c "$dir/pbx.yaml"
bin/sbc check -c "$dir/sbc.yaml"

# start NAME: starts bin/NAME and waits until its admin socket answers.
start() {
	local name=$1
	"bin/$name" serve -c "$dir/$name.yaml" 2>"$dir/$name.log" &
	local pid=$!
	pids+=("$pid")
	for _ in $(seq 150); do
		if "bin/$name" call list --socket "$dir/$name.sock" >/dev/null 2>&1; then
			return 0
		fi
		if ! kill -0 "$pid" 2>/dev/null; then
			echo "$name did not start:" >&2
			tail -n 3 "$dir/$name.log" >&2
			if grep -q 'address already in use' "$dir/$name.log"; then
				echo "remove $dir and choose other ports: make run PORT_BASE=7060" >&2
			fi
			exit 1
		fi
		sleep 0.1
	done
	echo "$name does not answer; see $dir/$name.log" >&2
	exit 1
}
echo "== starting (logs: $dir/pbx.log, $dir/sbc.log)"
start pbx
start sbc
grep -hoE 'msg="?(guard|ban filter)[^$]*' "$dir/sbc.log" | head -n 3 || true

# The ports are those of the configuration, which may be older than this command line.
border=$(sed -nE 's/.*transport: tls, listen: "[^"]*:([0-9]+)".*/\1/p' "$dir/sbc.yaml" | head -n 1)
api=$(sed -nE '/^api:/,/^$/s/.*listen: "[^"]*:([0-9]+)".*/\1/p' "$dir/pbx.yaml" | head -n 1)
phones=$(sed -nE 's/.*transport: udp, listen: "([^"]*)".*/\1/p' "$dir/pbx.yaml" | head -n 1)
bin/demo -sbc "127.0.0.1:$border" -ca "$dir/ca.crt" -pbx "$phones" -accounts "$dir/accounts.json" -control "$dir/sbc.sock"

cat <<EOF

Both programs are up. Accounts are in $dir/accounts.json, the certificate to trust in $dir/ca.crt.
  remote phones   TLS port $border, SRTP        inside phones   $phones, UDP or TCP
  programs        ${api:+https://localhost:$api/v1/openapi.json, }key: bin/pbx key add me --scope read --socket $dir/pbx.sock
  try  bin/sbc ban list --socket $dir/sbc.sock     bin/pbx registration list --socket $dir/pbx.sock
For phones on your network: remove $dir, then make run ADDRESS=<this machine's address>.
Ctrl-C ends both.
EOF
wait -n "${pids[@]}"
echo "a program ended by itself; see $dir/*.log" >&2
exit 1

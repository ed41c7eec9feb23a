#!/usr/bin/env bash
# Writes a configuration of both programs for the peers' bench into DIR, and DIR/product.json, which tells the bench how to start them:
# callers outside at 198.18.0.1 (UDP 5060, or TLS 5061), callees inside at 198.19.0.5:5060, extensions u0 … u999
# with passwords bench-password-0 … bench-password-999.
#
#   product.sh DIR udp|tls|phones
#
#   udp, tls   callers are a carrier, known by their addresses, as those of the peer are
#   phones     callers are phones over UDP: the exchange challenges each INVITE, so a call has two
#
# SRTP says what the outside takes (never), XDP how the kernel filter is attached (off) to XDP_INTERFACES,
# GATHER how long packets may wait for others (0s).
set -euo pipefail
cd "$(dirname "$0")/../.."
dir=$(mkdir -p "$1" && cd "$1" && pwd) how=$2 users=${USERS:-1000}
bin=$(cd "${BIN:-bin}" && pwd)

base() { # what is the same for every bench: certificates, keys and accounts
	"$bin/pbx" quickstart "$dir" --domain bench.test --address 127.0.0.1 --port-base 7060 >/dev/null
	"$bin/sbc" quickstart "$dir" --domain bench.test --address 127.0.0.1 --port-base 7060 >/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/edge-ca.key" -out "$dir/edge-ca.crt" \
		-days 30 -subj /CN=bench-ca 2>/dev/null
	openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$dir/edge.key" -out "$dir/edge.crt" \
		-CA "$dir/edge-ca.crt" -CAkey "$dir/edge-ca.key" -days 30 -subj /CN=198.18.0.1 \
		-addext subjectAltName=IP:198.18.0.1,DNS:bench.test -addext basicConstraints=critical,CA:FALSE \
		-addext extendedKeyUsage=serverAuth,clientAuth 2>/dev/null
	chmod 600 "$dir/edge.key"
	"$bin/pbx" serve -c "$dir/pbx.yaml" 2>"$dir/accounts.log" &
	local pid=$!
	trap "kill -TERM $pid 2>/dev/null || true" EXIT
	for _ in $(seq 100); do
		"$bin/pbx" call list --socket "$dir/pbx.sock" >/dev/null 2>&1 && break
		sleep 0.1
	done
	echo "adding $users extensions"
	export dir bin
	# shellcheck disable=SC2016  # expanded by the inner shell
	seq 0 $((users - 1)) | xargs -P 4 -I{} bash -c \
		'printf "%s\n" "bench-password-$1" | "$bin/pbx" extension add "u$1" --password-stdin --socket "$dir/pbx.sock" >/dev/null' _ {}
	kill -TERM "$pid"
	wait "$pid" || true
	trap - EXIT
	touch "$dir/base"
}
[ -e "$dir/base" ] || base

case $how in
udp | tls | phones) ;;
*)
	echo "usage: product.sh DIR udp|tls|phones" >&2
	exit 2
	;;
esac
sources='["198.18.0.0/16"]' realm=peer other=access outer=5060 idle=5099
if [ "$how" = phones ]; then
	sources='["192.0.2.1/32"]' realm=access other=peer
fi
cat >"$dir/bench-sbc.yaml" <<YAML
domain: bench.test
aliases: ["198.18.0.1"]
state: "$dir/sbc-state"
control: "$dir/sbc.sock"
log: {level: ${LOG_LEVEL:-info}, format: json}
$realm:
  interfaces:
    - {transport: udp, listen: "198.18.0.1:$outer"}
    - {transport: tls, listen: "198.18.0.1:5061"}
  tls: {certificate: "$dir/edge.crt", key: "$dir/edge.key"}
  media: {bind: 198.18.0.1}
  srtp: ${SRTP:-never}
$([ "$realm" = peer ] && echo "  trunks: [{name: bench, gateways: [{address: \"198.18.0.2:5060\", transport: udp}], sources: $sources}]")
$other:
  interfaces: [{transport: udp, listen: "198.18.0.1:$idle"}]
core:
  exchange: "127.0.0.1:7070"
  certificate: "$dir/sbc-core.crt"
  key: "$dir/sbc-core.key"
  ca: "$dir/ca.crt"
  media: {bind: 198.19.0.1}
media: {min_port: 2048, max_port: 65533, silence: 10m, gather: ${GATHER:-0s}}
limits: {calls: 50000, bindings: 200000, connections: ${CONNECTIONS:-30000}, per_source: 10000}
guard:
  xdp: {mode: "${XDP:-off}", interfaces: [${XDP_INTERFACES:-}]}
  allow: [198.18.0.0/15]
YAML
cat >"$dir/bench-pbx.yaml" <<YAML
domain: bench.test
state: "$dir/pbx-state"
control: "$dir/pbx.sock"
log: {level: ${LOG_LEVEL:-info}, format: json}
core: {listen: "127.0.0.1:7070", certificate: "$dir/pbx.crt", key: "$dir/pbx.key", ca: "$dir/ca.crt"}
phones:
  interfaces: [{transport: udp, listen: "198.19.0.5:5060"}]
secrets:
  store: file
  file: {path: "$dir/secrets", key: "$dir/secrets.key"}
trunks: [{name: bench, domain: bench.test}]
dialplan: "$dir/bench-dialplan.yaml"
limits: {calls: 50000, connections: 10000}
YAML
cat >"$dir/bench-dialplan.yaml" <<YAML
rules:
  - {from: bench, number: "!", do: extension}
  - {number: "!", do: extension}
YAML
tls=false ready=198.18.0.1:$outer
[ "$how" = tls ] && tls=true ready=198.18.0.1:5061
cat >"$dir/product.json" <<JSON
{"procs": [{"argv": ["$bin/pbx", "serve", "-c", "$dir/bench-pbx.yaml"], "ready": "198.19.0.5:5060"},
           {"argv": ["$bin/sbc", "serve", "-c", "$dir/bench-sbc.yaml"], "ready": "$ready"}],
 "tls": $tls, "ca": "$dir/edge-ca.crt", "seed": "198.19.0.5:5060"}
JSON
"$bin/pbx" check -c "$dir/bench-pbx.yaml"
"$bin/sbc" check -c "$dir/bench-sbc.yaml"
echo "$dir/product.json"

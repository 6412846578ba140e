#!/usr/bin/env bash
# Tessera's POSIX log and ours side by side, on this machine, one after the other: theirs under its own load generator (hammer),
# ours draining a backlog of as many leaves of the same size. Both answer only for what is durable.
#
#   benches/tessera.sh [LEAVES] [EVENTS]        default: 100,000 leaves for theirs, 300,000 events for ours
#
# Needs `scripts/setup bench serve` and a built upm-bench ($BENCH). Prints rates, CPU a leaf, peak memory, and the ratio.
set -euo pipefail
leaves=${1:-100000} events=${2:-300000} size=${SIZE:-1438} writers=${WRITERS:-2048}
tools=${UPM_TOOLS:-$HOME/.cache/upm-ledger/tools}
bench=${BENCH:-target/release/upm-bench}
for program in "$tools/tessera-posix-1.0.2" "$tools/tessera-hammer-1.0.2" "$bench"; do
  [ -x "$program" ] || { echo "tessera.sh: $program is missing: run scripts/setup bench, and build" >&2; exit 2; }
done
work=$(mktemp -d); log=
trap '[ -z "$log" ] || kill "$log" 2>/dev/null || true; [ -z "$log" ] || wait "$log" 2>/dev/null || true; rm -rf "$work"' EXIT

# A note key as Tessera reads it, made for this run: PRIVATE+KEY+name+hash+base64(01 ‖ seed), and name+hash+base64(01 ‖ public).
openssl genpkey -algorithm ed25519 -outform DER -out "$work/key.der" 2>/dev/null
openssl pkey -inform DER -in "$work/key.der" -pubout -outform DER -out "$work/pub.der" 2>/dev/null
python3 - "$work" <<'PY'
import base64, hashlib, sys
work, name = sys.argv[1], "bench.example/tessera"
seed = open(work + "/key.der", "rb").read()[-32:]
public = open(work + "/pub.der", "rb").read()[-32:]
key_id = hashlib.sha256(name.encode() + b"\n\x01" + public).hexdigest()[:8]
encoded = lambda raw: base64.b64encode(b"\x01" + raw).decode()
open(work + "/private", "w").write(f"PRIVATE+KEY+{name}+{key_id}+{encoded(seed)}")
open(work + "/public", "w").write(f"{name}+{key_id}+{encoded(public)}")
PY

port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$tools/tessera-posix-1.0.2" --storage_dir "$work/log" --private_key "$work/private" --listen "127.0.0.1:$port" >"$work/log.txt" 2>&1 &
log=$!
for _ in $(seq 100); do
  curl -fsS -o /dev/null "http://127.0.0.1:$port/checkpoint" 2>/dev/null && break
  sleep 0.1
done
curl -fsS -o /dev/null "http://127.0.0.1:$port/checkpoint" || { tail -5 "$work/log.txt" >&2; exit 2; }

cpu() { awk '{ print ($14 + $15) * 10000 }' "/proc/$log/stat"; }
cpu_before=$(cpu); begun=$(date +%s%N)
"$tools/tessera-hammer-1.0.2" --log_url "http://127.0.0.1:$port/" --write_log_url "http://127.0.0.1:$port/" \
  --log_public_key "$(cat "$work/public")" --leaf_min_size "$size" --dup_chance 0 --leaf_write_goal "$leaves" \
  --max_write_ops 1000000 --num_writers "$writers" --num_readers_full 0 --num_readers_random 0 --max_read_ops 0 \
  --show_ui=false --max_runtime 5m >"$work/hammer.txt" 2>&1 || { tail -5 "$work/hammer.txt" >&2; exit 2; }
ended=$(date +%s%N); cpu_after=$(cpu)
resident=$(awk '/VmHWM/ { printf "%d", $2 / 1024 }' "/proc/$log/status")
kill "$log"; wait "$log" 2>/dev/null || true; log=
theirs=$(awk -v n="$leaves" -v a="$begun" -v b="$ended" 'BEGIN { printf "%.0f", n / ((b - a) / 1e9) }')
each=$(awk -v n="$leaves" -v a="$cpu_before" -v b="$cpu_after" 'BEGIN { printf "%.1f", (b - a) / n }')

"$bench" drain --events "$events" --rounds 1 --json "$work/ours.json" >"$work/ours.txt"
python3 - "$work/ours.json" "$theirs" "$each" "$resident" "$size" <<'PY'
import json, sys
ours, theirs, each, resident, size = json.load(open(sys.argv[1])), *map(float, sys.argv[2:])
drain = ours["rounds"][0]["drain"]
cpu = sum(us for name, us in drain["cpu_us_per_event"].items())
print(f"leaves of {size:.0f} bytes (ours: events of {ours['bytes_per_event']}), durable, load generator on the same machine")
print(f"  Tessera POSIX 1.0.2   {theirs:>8.0f} leaves/s   {each:>6.1f} µs CPU a leaf (its server alone)   peak {resident:.0f} MiB")
print(f"  UPM Ledger            {drain['events_per_s']:>8.0f} events/s   {cpu:>6.1f} µs CPU an event (with nats-server)   peak {drain['peak_mib']:.0f} MiB")
print(f"  ours ÷ Tessera: {drain['events_per_s'] / theirs:.1f}")
PY

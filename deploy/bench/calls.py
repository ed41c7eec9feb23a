#!/usr/bin/env python3
"""Calls through the product and through Kamailio, one after the other in the same run.

usage: calls.py rate|lat|max|held|over|profile [udp|tls|phones|kamailio peer ...]

$PEER_BENCH is the folder of the peers' bench (its README tells what it needs); $BENCH_DIR is where product.sh wrote to. Each
row is a line of JSON. CPU is that of all processes of the peer; of the product also that of the border alone."""
import json
import os
import subprocess
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
PEER = os.environ.get("PEER_BENCH") or sys.exit("calls.py: PEER_BENCH names no folder of the peers' bench")
DIR = os.environ.get("BENCH_DIR", "/tmp/brickhouse-bench")
sys.path.insert(0, PEER)
sys.path.insert(0, PEER + "/lib")
import harness  # noqa: E402
import signalling  # noqa: E402

OURS = ("udp", "tls", "phones")
PASSWORD = "bench-password-"  # the exchange takes none shorter than twelve characters
plain_sipload = harness.sipload


def sipload(gen, mode, *a, **kw):
    if Bed.current in OURS and mode in ("reg", "uac"):
        kw["pw"] = PASSWORD
    return plain_sipload(gen, mode, *a, **kw)


signalling.sipload = sipload


def threads_cpu(pid):
    """CPU seconds that the threads of a process have used."""
    total = 0
    for t in os.listdir("/proc/%d/task" % pid):
        try:
            total += int(open("/proc/%d/task/%s/schedstat" % (pid, t)).read().split()[0])
        except OSError:
            pass
    return total / 1e9


class Bed(signalling.Bed):
    """The bed of the peers' bench, with the product as one more peer."""
    current = None

    def __init__(self, peer, **kw):
        Bed.current = peer
        if peer in OURS:
            subprocess.run([HERE + "/product.sh", DIR, peer], check=True, stdout=sys.stderr)
            os.environ["PB_PRODUCT"] = DIR + "/product.json"
        super().__init__("product" if peer in OURS else peer, **kw)
        self.name = peer

    def pid_of(self, name):
        for p in self.sut.pids():
            try:
                if open("/proc/%d/comm" % p).read().strip() == name:
                    return p
            except OSError:
                pass
        return None

    def border(self):
        pid = self.pid_of("sbc") if self.name in OURS else None
        return threads_cpu(pid) if pid else 0.0

    def tables(self):
        """How many calls each program holds, by its own word."""
        out = {}
        if self.name in OURS:
            for prog in ("sbc", "pbx"):
                r = subprocess.run(["%s/%s" % (BIN, prog), "call", "list", "--json", "--socket", "%s/%s.sock" % (DIR, prog)], capture_output=True, text=True)
                try:
                    d = json.loads(r.stdout or "[]")
                    out[prog] = len(d.get("calls", d) if isinstance(d, dict) else d)
                except ValueError:
                    out[prog] = (r.stdout + r.stderr)[:80]
        return out


BIN = os.environ.get("BIN") or os.path.join(HERE, "../../bin")


def one(bed, rate, secs, **kw):
    b0 = bed.border()
    row = signalling.one(bed, rate, secs, **kw)
    row["peer"] = bed.name
    if bed.name in OURS:
        row["border_ms_per_call"] = round(1000 * (bed.border() - b0) / max(1, row["calls"]), 4)
    return row


def show(part, row):
    row = {"part": part, "at": time.strftime("%H:%M:%S"), **row}
    with open(harness.WORK + "/product.jsonl", "a") as f:
        f.write(json.dumps(row) + "\n")
    if os.environ.get("FULL"):
        print(json.dumps(row), flush=True)
        return
    keys = ("part", "peer", "rate", "calls", "failed", "why", "retrans", "cpu_ms_per_call", "border_ms_per_call", "sut_busy_pct", "p50_180_ms", "p99_180_ms", "foreign_cpu_pct",
            "kinstr_per_call_user", "kinstr_per_call_kernel", "pss")
    print(json.dumps({k: row[k] for k in row if k in keys or not part.startswith("rate")}), flush=True)


def do_rate(peers, rates, secs):
    for p in peers:
        with harness.locked(30):
            bed = Bed(p)
            try:
                one(bed, 300, 2)  # first touches of memory
                for rate in rates:
                    row = one(bed, rate, secs)
                    row["pss"] = bed.sut.pss_by_name()
                    show("rate", row)
                    if row["fail_pct"] > 1:
                        break
            finally:
                bed.close()


def do_lat(peers, rates, secs):
    for p in peers:
        with harness.locked(20):
            bed = Bed(p, rt=True)
            try:
                one(bed, 100, 1)
                for rate in rates:
                    show("lat", one(bed, rate, secs))
            finally:
                bed.close()


def do_profile(peers, rates, secs):
    for p in peers:
        bed = Bed(p)
        try:
            one(bed, 300, 2)
            names = ("sbc", "pbx") if p in OURS else ("kamailio",)
            for n in names:
                data = "%s/%s-%s.perf" % (harness.WORK, p, n)
                q = subprocess.Popen(["perf", "record", "-q", "-g", "-F", "1997", "-o", data, "-p", str(bed.pid_of(n))], stdin=subprocess.DEVNULL)
                time.sleep(0.5)
                show("profile", one(bed, rates[0], secs))
                q.send_signal(2)
                q.wait()
                print(data, flush=True)
        finally:
            bed.close()


def do_held(peers, counts, rate=400):
    """Memory per call in hand, after the transactions of its set-up have gone."""
    for p in peers:
        bed = Bed(p)
        try:
            one(bed, rate, 5)
            time.sleep(36)  # the transactions of the warm-up live 32 s
            a, up, procs = bed.sut.pss_by_name(), 0, []
            for n in counts:
                k = n - up
                left = max(counts) - n
                hold = k / rate + 40 + left / rate + (45 if left else 5) + 60
                procs.append(sipload(bed.gen, "uac", "%s/held%d.json" % (harness.WORK, n), harness.OUT, rate=rate, calls=k, hold="%ds" % hold, users=1000, lport=6060 + len(procs), **bed.target()))
                up = n
                time.sleep(k / rate + 37)
                b = bed.sut.pss_by_name()
                row = {"peer": p, "held": n, "tables": bed.tables(), "before_mib": a, "held_mib": b}
                row["kib_per_call"] = {c: round((b[c] - a.get(c, 0)) * 1024 / n, 2) for c in b}
                show("held", row)
            time.sleep(45)
            show("held", {"peer": p, "held": n, "later_s": 45, "held_mib": bed.sut.pss_by_name()})
            for q in procs:
                q.wait(200)
                bed.gen.procs.remove(q)
            for f in counts:
                r = json.load(open("%s/held%d.json" % (harness.WORK, f)))
                show("held", {"peer": p, "ended": f, "calls": r["calls"], "failed": r["failed"], "why": r["why"]})
            show("held", {"peer": p, "after": bed.tables(), "after_mib": bed.sut.pss_by_name()})
        finally:
            bed.close()


def do_max(peers, start, secs):
    """Raises the rate until 0.1 % of the calls fail or the rate isn't reached."""
    for p in peers:
        with harness.locked(60):
            bed = Bed(p)
            try:
                print(p, highest(bed, start, secs), flush=True)
            finally:
                bed.close()


def highest(bed, start, secs, budget=60):
    one(bed, 300, 2)
    lo, hi, rate, t0 = 0, None, start, time.time()
    while time.time() - t0 < budget:
        row = one(bed, rate, secs, timeout="4s")
        good = row["fail_pct"] < 0.1 and row["achieved"] > 0.97 * rate and row["retrans"] < 0.01 * row["calls"]
        show("max", {**row, "good": good, "pss": bed.sut.pss_by_name()})
        if good:
            lo = rate
        else:
            hi = rate
            time.sleep(4)
        rate = int(lo * 1.3) if hi is None else int((lo + hi) / 2) if lo else int(hi * 0.7)
        if hi and (hi - lo) / hi < 0.1:
            break
    return lo


def do_over(peers, rates, secs):
    """Twice the highest rate for a minute, then the highest rate again: who was let in is served, nobody dies, and it passes."""
    top = rates[0]
    for p in peers:
        bed = Bed(p)
        try:
            one(bed, 300, 2)
            show("before", one(bed, top, 10))
            show("over", {**one(bed, 2 * top, secs), "pss": bed.sut.pss_by_name()})
            for _ in range(4):
                time.sleep(5)
                show("after", {**one(bed, top, 5), "pss": bed.sut.pss_by_name(), "tables": bed.tables()})
        finally:
            bed.close()


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "rate"
    peers = sys.argv[2:] or ["sbc-topoh", "chain-topoh", "udp", "chain-topoh-tls", "tls"]
    rates = [int(r) for r in os.environ.get("RATES", "1000").split(",")]
    secs = int(os.environ.get("SECS", "5"))
    harness.build()
    job = {"rate": lambda: do_rate(peers, rates, secs), "lat": lambda: do_lat(peers, rates, secs), "profile": lambda: do_profile(peers, rates, secs),
           "held": lambda: do_held(peers, [int(n) for n in os.environ.get("HELD", "2000,20000").split(",")]), "max": lambda: do_max(peers, rates[0], secs), "over": lambda: do_over(peers, rates, secs)}
    if what not in job:
        sys.exit(__doc__)
    job[what]()

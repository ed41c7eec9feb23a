#!/usr/bin/env python3
"""Media through the product and through rtpengine in user space, by turns in the same run.

usage: media.py rate|lat|held|profile [plain|kernel|cm80|gcm256 ...]

plain is RTP on both sides, kernel the same with the product's XDP program on both interfaces, cm80 and gcm256 are SRTP outside (SDES)
and RTP inside. $PEER_BENCH is the folder of the peers' bench (its README tells what it needs); $BENCH_DIR is where product.sh writes to.
The product's calls are set up by SIP through border and exchange. $GATHER is its media.gather. Each row is a line of JSON. CPU is that
of all processes; what the kernel does between a driver and an XDP program is no process's."""
import json
import os
import sys
import time

import calls  # noqa: F401  finds the peers' bench
import harness
import signalling

sys.path.insert(0, calls.PEER)
import media  # noqa: E402  the peers'; Python knows this file as __main__

WORK = harness.WORK
SUITES = {"plain": "none", "kernel": "none", "cm80": "AES_CM_128_HMAC_SHA1_80", "gcm256": "AEAD_AES_256_GCM"}
CALLS = [int(n) for n in os.environ.get("CALLS", "200").split(",")]
SECS = float(os.environ.get("SECS", "4"))
ROUNDS = int(os.environ.get("ROUNDS", "3"))

sipload_before = signalling.sipload


def sipload(gen, mode, *a, **kw):
    if mode == "uas":
        kw.update(media_out=WORK + "/B.legs", media_port=30000, media_ports=8)
    return sipload_before(gen, mode, *a, **kw)


signalling.sipload = sipload


def real_cards():
    """As with real cards: checksums are written by who sends, and the far ends receive frames that an XDP program sends."""
    for ns, dev in ((harness.OUT, "pbo0"), (harness.IN, "pbi0")):
        harness.sh("ip netns exec %s ethtool -K %s tx off gro on" % (ns, dev))
    time.sleep(2)  # the links come up again


class Product(calls.Bed):
    """Border and exchange with n calls in hand, whose legs stand in A.legs and B.legs."""

    def __init__(self, kind, n, rt=False):
        os.environ["SRTP"] = "never" if SUITES[kind] == "none" else "allow"
        os.environ.update(XDP="native", XDP_INTERFACES="pbs0, pbs1") if kind == "kernel" else os.environ.update(XDP="off", XDP_INTERFACES="")
        super().__init__("udp" if SUITES[kind] == "none" else "tls", rt=rt)
        if kind == "kernel":
            real_cards()
        self.before = self.sut.pss_by_name()
        self.place(n, SUITES[kind])

    def place(self, n, suite):
        p = sipload(self.gen, "uac", WORK + "/uac.json", harness.OUT, rate=200, calls=n, users=n, hold_until_term=True, media_out=WORK + "/A.legs",
                    media_port=20000, media_ports=8, suite=suite, **self.target())
        for _ in range(200):
            if all(os.path.exists(f) and len(open(f).readlines()) >= n for f in (WORK + "/A.legs", WORK + "/B.legs")):
                break
            time.sleep(0.1)
        else:
            raise RuntimeError("the calls do not stand: " + open(WORK + "/uac.json.log").read())
        self.uac = p
        time.sleep(1)


class Peer:
    """rtpengine with n calls."""

    def __init__(self, kind, n, rt=False):
        self.sut, self.gen, before = media.bed("plain" if kind == "kernel" else kind, n, rt=rt)
        if kind == "kernel":
            real_cards()
        self.before = {"rtpengine": before}

    def close(self):
        self.gen.stop()
        self.sut.stop()


def measure(kind, counts, rt, secs):
    """Rows, each with its bed. SRTP calls are used once: the generator counts anew each time, and a relay that takes a number twice is none."""
    for peer, bed_of in (("rtpengine", Peer), ("product", Product)):
        for some in [counts] if SUITES[kind] == "none" else [[n] for n in counts]:
            for f in "AB":
                if os.path.exists("%s/%s.legs" % (WORK, f)):
                    os.remove("%s/%s.legs" % (WORK, f))
            bed = bed_of(kind, max(some), rt)
            try:
                for n in some:
                    yield one(kind, peer, bed, n, secs), bed
            finally:
                bed.close()


def one(kind, peer, bed, n, secs):
    if kind == "kernel":  # calls are handed over after their first packets
        media.run(bed.sut, bed.gen, n, 1, 0.5)
        time.sleep(1)
    c0 = bed.border() if peer == "product" else 0
    r = media.run(bed.sut, bed.gen, n, secs, 0.5)
    row = {"kind": kind, "peer": peer, "asked": n, **r}
    if peer == "product":
        row["border_s_per_mpkt"] = round((bed.border() - c0) * r["cpu_s_per_mpkt"] / max(1e-9, r["sut_cpu_s"]), 3)
    return row


KEYS = ("part", "kind", "peer", "calls", "pps_in", "lost", "bad", "cpu_s_per_mpkt", "border_s_per_mpkt", "kinstr_per_pkt", "a2b_us", "b2a_us", "foreign_cpu_pct", "kib_per_call")


def show(part, row):
    row = {"part": part, "at": time.strftime("%H:%M:%S"), **row}
    with open(WORK + "/media.jsonl", "a") as f:
        f.write(json.dumps(row) + "\n")
    print(json.dumps(row if os.environ.get("FULL") else {k: row[k] for k in KEYS if k in row}), flush=True)


def ratio(kind, rows):
    """The product's CPU per packet divided by the peer's, each the least of all rounds: what others did to the caches and the clock only adds."""
    for n in CALLS:
        least = {p: min(r["cpu_s_per_mpkt"] for r in rows if r["peer"] == p and r["asked"] == n) for p in ("rtpengine", "product")}
        print("# %s, %d calls: product %.2f us a packet, rtpengine %.2f, ratio %.2f" % (kind, n, least["product"], least["rtpengine"], least["product"] / least["rtpengine"]), flush=True)


def do_rate(kinds):
    for kind in kinds:
        rows = []
        for _ in range(ROUNDS):
            with harness.locked(40):
                for row, _ in measure(kind, CALLS, False, SECS):
                    show("rate", row)
                    rows.append(row)
        ratio(kind, rows)


def do_lat(kinds):
    for kind in kinds:
        with harness.locked(40):
            for row, _ in measure(kind, CALLS, True, SECS):
                show("lat", row)


def do_held(kinds):
    """Memory of a call whose media flow, beyond what the programs had before the first; of the product the border's alone."""
    for kind in kinds:
        with harness.locked(60):
            for row, bed in measure(kind, [max(CALLS)], False, SECS):
                now = bed.sut.pss_by_name()
                row["kib_per_call"] = {p: round((now[p] - bed.before.get(p, 0)) * 1024 / row["calls"], 1) for p in now}
                show("held", row)


def do_profile(kinds):
    for kind in kinds:
        for peer, bed_of in (("rtpengine", Peer), ("product", Product)):
            bed = bed_of(kind, CALLS[0])
            try:
                with harness.profile(bed.sut, "media-" + peer, 60):
                    show("profile", {"kind": kind, "peer": peer, **media.run(bed.sut, bed.gen, CALLS[0], SECS, 0.5)})
                show("instr", {"kind": kind, "peer": peer, **media.run(bed.sut, bed.gen, CALLS[0], SECS, 0.5, count=True)})
            finally:
                bed.close()


if __name__ == "__main__":
    what = sys.argv[1] if len(sys.argv) > 1 else "rate"
    kinds = sys.argv[2:] or ["plain", "cm80", "gcm256"]
    job = {"rate": do_rate, "lat": do_lat, "held": do_held, "profile": do_profile}
    if what not in job or any(k not in SUITES for k in kinds):
        sys.exit(__doc__)
    harness.build()
    job[what](kinds)

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""The measured drills on the whole example platform: every fault several times under load, every value printed.

    tools/accept.py [--runs N] [--semi-sync] [--keep] [FAULT...]

What may not be otherwise (nothing lost that is not rescued, nothing twice, never two writers, evidence) is asserted of
every run, and the exit status is 1 when it is not so; times are printed against their aims. A run that fails is no end:
the platform is made well again, anew if need be, and the next one begins. Evidence stays in bench/results/accept-*/; a
whole measurement (every fault, five runs or more) is written to doc/drills-results.md too."""
import argparse
import contextlib
import datetime
import json
import os
import pathlib
import re
import signal
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "test/lib"))
from lablib import BINARY, Lab, lab_traces, unique_name, wait_until  # noqa: E402

HOME, HOME_ADDRESS, SEOUL_ADDRESS, TH_BUYER = "ap-hongkong", "203.0.113.20", "203.0.113.40", "198.51.100.17"
DATABASE, COUNTRY = "trade", "KR"  # whose buyers are served by the region that takes over
CLIENTS = 4
# How long all is well before the fault: so old are the name answers that buyers hold, whose life is 60 s.
STEADY_S = (3, 15, 27, 39, 51)
RUN_LIMIT_S, WELL_LIMIT_S = 700, 240
REGION_LOST, OTHERS = ("dark", "power", "freeze"), ("source-crash", "source-freeze")
AIMS = [  # faults, value, what it is, the most it may be
    (REGION_LOST, "korea_ms", "first order acknowledged to a buyer in Korea", 25000),
    (REGION_LOST, "excess_ms", "the longest wait of a buyer with an old address, beyond its life", 25000),
    (REGION_LOST, "held_ms", "the same, of the address that it held when it could first have had another", 25000),
    (("source-crash",), "rto_ms", "writes are back", 10000),
    (("source-freeze",), "recognised_ms", "the frozen source is recognised", 15000),
]
TIMES = ["rto_ms", "korea_ms", "recognised_ms", "others_p50", "others_p95", "others_max", "cached_p50", "cached_p95",
         "cached_max", "excess_ms", "held_ms"]
COUNTS = ["cached", "told_again", "acked", "present", "lost", "duplicated", "reported_missing", "rescued"]
HEADS = {"rto_ms": "rto", "korea_ms": "Korea", "recognised_ms": "seen", "others_p50": "p50", "others_p95": "p95",
         "others_max": "max", "cached_p50": "old p50", "cached_p95": "old p95", "cached_max": "old max",
         "excess_ms": "beyond TTL", "held_ms": "beyond held", "cached": "old", "told_again": "told again",
         "duplicated": "twice", "reported_missing": "reported", "steady_s": "well for", "two_writers": "two writers"}
WORDS = """Times are seconds from the injection. rto: the first order acknowledged to a buyer whose answer names a living
region; Korea: to one in Korea; seen: the platform's first word of the fault. p50, p95, max: each buyer's first order, of
those that held no old address; old p50, p95, max: of those that held an address of the lost region; beyond TTL: the most
that one of them waited beyond the life of that address; beyond held: beyond the life of the last address of the lost
region that it was given. told again: buyers that asked during the fault and were sent to the lost region once more.
reported: transactions in the range that the platform reported as possibly missing (an upper bound, heartbeats count).
load: of the machine, when the run began. well for: seconds under load before the fault."""


def say(text=""):
    print(text, flush=True)


def parse():
    p = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    p.add_argument("faults", nargs="*", metavar="FAULT", help=", ".join(REGION_LOST + OTHERS))
    p.add_argument("--runs", type=int, default=int(os.environ.get("MCP_DRILL_RUNS") or 5))
    p.add_argument("--semi-sync", action="store_true", help="replication.mode: semi-sync; nothing may be lost")
    p.add_argument("--keep", action="store_true", help="leave the lab up")
    args = p.parse_args()
    args.faults = args.faults or (os.environ.get("MCP_DRILL_FAULTS") or "").split() or [*REGION_LOST, *OTHERS]
    if set(args.faults) - set(REGION_LOST + OTHERS) or args.runs < 1:
        p.error(f"faults are {', '.join(REGION_LOST + OTHERS)}; runs at least 1")
    return args


# ---- the platform

class Example(Lab):
    def __init__(self, folder, semi_sync):
        name = unique_name("accept")
        text = (ROOT / "example/platform.yaml").read_text()
        for pattern, by in ((r"(?m)^platform: .*", f"platform: {name}"), (r"schema/trade\.sql", f"{ROOT}/example/schema/trade.sql"),
                            (r"oci:images/", f"oci:{ROOT}/example/images/"), (r"(failover: \{auto:) false", r"\1 true"),
                            (r"mode: async", "mode: semi-sync" if semi_sync else "mode: async")):
            text, n = re.subn(pattern, by, text)
            assert n, f"the example has no {pattern}"
        file = folder / "platform.yaml"
        file.write_text(text)
        super().__init__(file=file, name=name)

    def ask(self, *words):
        return json.loads(self.mcp(*words, "--json").stdout)

    def begin(self):
        begun = time.monotonic()
        self.mcp("up", timeout=240)
        self.well()
        say(f"{self.name}: five hosts up and well after {time.monotonic() - begun:.0f} s")

    def anew(self):
        say(f"{self.name}: is not well, and is made anew")
        self.mcp("down", check=False)
        self.begin()

    def at_home(self):
        """What an operator does after a failover: looks, acknowledges, and moves the source home."""
        d = self.ask("data", "status", DATABASE)
        if d["change"] or d["state"] != "writable" or any(r["state"] != "replicating" for r in d["replicas"]):
            return False
        if d["source_region"] == HOME:
            return True
        self.mcp("ack", DATABASE)
        self.mcp("data", "switchover", DATABASE, "--to", HOME)
        return False

    def calm(self):
        """Every unit is ready or on standby, failover is armed, and buyers are told the usual."""
        s = self.status()
        if not s["ready"] or not any(u["standby"] for u in s["units"]):
            return False
        said = self.ask("explain", "failover", DATABASE)
        if not said["armed"]:
            rules = {r["id"] for r in said["rules"] if r["holds"]}
            if "R14" in rules or "R15" in rules:
                self.mcp("ack", DATABASE)
            elif "R7" in rules:
                self.mcp("data", "arm", DATABASE)
            return False
        return said["state"] == "healthy" and self.told() == ([HOME_ADDRESS], 60)

    def told(self):
        reply = self.dig("api.reindeers.com", server=SEOUL_ADDRESS, source=TH_BUYER)
        rows = [(r.address, rrset.ttl) for rrset in reply.answer for r in rrset]
        return [r[0] for r in rows], rows[0][1]

    def well(self):
        wait_until(self.at_home, WELL_LIMIT_S, "the source at home, and its replica")
        wait_until(self.calm, WELL_LIMIT_S, "the platform to be calm")

    def restore(self):
        with contextlib.suppress(AssertionError, subprocess.TimeoutExpired):
            self.well()
            return
        self.anew()


# ---- one run

def times(of):
    return [of.get(k) for k in ("p50", "p95", "max")]


def recognised(timeline, begun):
    """The first word of the platform about the database, from the injection on."""
    for e in timeline:
        if e["time"] >= begun and (
                e["kind"] == "failover" and e["message"].startswith("failover: ")
                or e["subject"] == f"db-{DATABASE}" and e["message"] not in ("ready", "starting")
                or e["kind"] == "alarm" and "killed" in e["message"]):
            return e
    return None


def ms_between(a, b):
    return round((datetime.datetime.fromisoformat(b[:-1]) - datetime.datetime.fromisoformat(a[:-1])).total_seconds() * 1000)


def row_of(report, timeline):
    clients = report["clients"]
    korea = [c["rto_ms"] for c in clients if c["country"] == COUNTRY and c["rto_ms"] is not None]
    excess = [c["excess_ms"] for c in clients if c["excess_ms"] is not None]
    held = [c["rto_ms"] - max(c["ttl_left_ms"], c["told_until_ms"] or 0) for c in clients if c["excess_ms"] is not None]
    seen = recognised(timeline, report["begun"])
    row = {"rto_ms": report["rto_ms"], "korea_ms": min(korea, default=None), "excess_ms": max(excess, default=None),
           "held_ms": max(held, default=None),
           "recognised_ms": ms_between(report["begun"], seen["time"]) if seen else None,
           "recognised_by": f"{seen['host']} {seen['subject']}: {seen['message']}" if seen else None,
           "cached": sum(c["cached"] for c in clients),
           "told_again": sum(c["told_again_ms"] is not None for c in clients), "two_writers": report["two_writers"]}
    for name, of in (("others", "other_client_rto_ms"), ("cached", "cached_client_rto_ms")):
        row |= dict(zip((f"{name}_p50", f"{name}_p95", f"{name}_max"), times(report[of])))
    return row | {k: report[k] for k in COUNTS if k in report}


def rescued_keys(lab, report, folder):
    """Lost orders that stand in no rescue file."""
    lab.mcp("data", "missing", DATABASE, "--save", folder)
    text = "".join(f.read_text(errors="replace") for f in sorted(pathlib.Path(folder).rglob("*.jsonl")))
    return [key for key in report["traffic"].get("lost_keys", []) if f'"{key}"' not in text]


def judge(lab, fault, report, semi_sync, folder):
    """What is not as it must be."""
    wrong = [*report["why"]] if not report["passed"] else []
    evidence = pathlib.Path(report["evidence"])
    if not evidence.exists() or json.loads(evidence.read_text()) != report or not pathlib.Path(report["page"]).exists():
        wrong.append("the evidence is not there")
    late = [c["client"] for c in report["clients"] if c["rto_ms"] is None]
    if late or len(report["clients"]) != CLIENTS * len(report["by_country"]):
        wrong.append(f"buyers that never came back: {late}")
    if not report["acked"] or report["present"] is None:
        wrong.append("the orders were not compared")
    if report["duplicated"] or report["two_writers"]:
        wrong.append(f"{report['duplicated']} orders twice, two writers: {report['two_writers']}")
    lost = report["lost"] or 0
    if lost and semi_sync:
        wrong.append(f"{lost} orders lost under semi-sync")
    if lost > report["reported_missing"]:
        wrong.append(f"{lost} orders lost, {report['reported_missing']} transactions in the reported range")
    if lost:
        unsaved = rescued_keys(lab, report, folder)
        if unsaved:
            wrong.append(f"lost and in no rescue file: {unsaved[:5]}")
    moved = (report["last"] or {}).get("kind") == "failover" and any("source is" in s["name"] for s in report["steps"])
    if fault in REGION_LOST and not moved:
        wrong.append("no other region took over")
    return wrong


def drill(lab, fault, steady_s, folder):
    words = [BINARY, "drill", "run", fault, "--platform", lab.name, "--out", str(folder), "--clients", str(CLIENTS),
             "--steady", f"{steady_s}s", "--json"]
    p = subprocess.run(words, capture_output=True, text=True, timeout=RUN_LIMIT_S)
    if p.returncode not in (0, 1) or not p.stdout.strip():
        raise AssertionError(f"mcp drill run: {p.returncode}: {p.stderr.strip()[-500:]}")
    return json.loads(p.stdout)


def run(lab, fault, n, args, folder):
    begun = time.monotonic()
    row = {"fault": fault, "run": n, "load": round(os.getloadavg()[0], 1)}
    try:
        lab.restore()
        row["restored_s"] = round(time.monotonic() - begun)
        steady_s = STEADY_S[(n - 1) % len(STEADY_S)] if fault in REGION_LOST else STEADY_S[0]
        report = drill(lab, fault, steady_s, folder)
        timeline = lab.mcp("timeline", "--since", report["begun"], "--json").stdout
        (folder / f"timeline-{fault}-{n}.jsonl").write_text(timeline)
        row |= row_of(report, [json.loads(line) for line in timeline.splitlines()])
        row |= {"steady_s": steady_s, "evidence": os.path.basename(report["evidence"]),
                "wrong": judge(lab, fault, report, args.semi_sync, folder / f"rescue-{fault}-{n}")}
    except (AssertionError, subprocess.SubprocessError, OSError, ValueError, KeyError) as e:
        row["wrong"] = [f"{type(e).__name__}: {e}"[:2000]]
        (folder / f"failed-{fault}-{n}.txt").write_text(f"{e}\n{lab.logs(60)}")
    row["took_s"] = round(time.monotonic() - begun)
    (folder / f"run-{fault}-{n}.json").write_text(json.dumps(row, indent=1, ensure_ascii=False))
    return row


# ---- what is shown

def seconds(value):
    return "-" if value is None else f"{value / 1000:.1f}"


def cells(row):
    shown = [f"{row['fault']} {row['run']}"]
    shown += [seconds(row.get(k)) for k in TIMES] + [str(row.get(k, "-")) for k in COUNTS]
    two = row.get("two_writers")
    shown += [str(row.get("load", "-")), str(row.get("steady_s", "-"))]
    return shown + ["-" if two is None else "yes" if two else "never", "FAILED" if row["wrong"] else "passed"]


def summary_rows(rows):
    """Median and most of each fault."""
    for fault in dict.fromkeys(r["fault"] for r in rows):
        of = [r for r in rows if r["fault"] == fault]
        for name, f in (("median", statistics.median), ("most", max)):
            known = {k: [r[k] for r in of if r.get(k) is not None] for k in TIMES}
            yield [f"{fault} {name}", *(seconds(f(v)) if v else "-" for v in known.values()),
                   *("" for _ in COUNTS), "", "", "", ""]


def aims(rows):
    for faults, key, text, most in AIMS:
        of = {f: [r[key] for r in rows if r["fault"] == f and r.get(key) is not None] for f in faults}
        for fault, values in of.items():
            n = sum(r["fault"] == fault for r in rows)
            if n:
                good = sum(v <= most for v in values)
                yield (f"{fault}: {text}, {most // 1000} s at most: {'won' if good == n else 'LOST'}, {good} of {n} runs"
                       f" ({', '.join(map(seconds, values)) or 'no figure'} s)")


def heads():
    return ["run", *(HEADS.get(k, k) for k in [*TIMES, *COUNTS, "load", "steady_s", "two_writers"]), "it"]


def as_text(table):
    widths = [max(len(head), 22 if i == 0 else 5) for i, head in enumerate(heads())]
    return "\n".join(" ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths)))
                     for line in table)


def as_markdown(rows, args, conditions):
    def line(row):
        return "| " + " | ".join(row) + " |"
    table = [heads(), ["---"] * len(heads()), *map(cells, rows), *summary_rows(rows)]
    wrong = [f"- {r['fault']} {r['run']}: {w}" for r in rows for w in r["wrong"]]
    return "\n".join([
        "# Drills on the whole example, measured", "", conditions, "", *WORDS.split("\n"), "",
        *map(line, table), "", "## Aims", "", *(f"- {a}" for a in aims(rows)), "",
        *(["## What was wrong", "", *wrong] if wrong else ["Every run: evidence there, nothing lost that was not in the "
          "reported range and rescued, nothing twice, never two writers."]), ""])


def conditions_of(args, begun):
    version = subprocess.run([BINARY, "version"], capture_output=True, text=True).stdout.splitlines()[0]
    return (f"{begun:%Y-%m-%d %H:%M} UTC, {version}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f} at the beginning. "
            f"The example: five hosts in four regions on one machine, probes 5 s x 2, lease 15 s, TTL 60 s, replication "
            f"{'semi-sync' if args.semi_sync else 'async'}, {CLIENTS} buyers of each of four countries, 20 orders a second; "
            f"{args.runs} runs of each, all well under load for {', '.join(map(str, STEADY_S[:args.runs]))} s before the fault.")


def keep(rows, args, folder, conditions):
    page = as_markdown(rows, args, conditions)
    (folder / "summary.md").write_text(page)
    (folder / "summary.json").write_text(json.dumps({"conditions": conditions, "runs": rows}, indent=1, ensure_ascii=False))
    whole = set(args.faults) == set(REGION_LOST + OTHERS) and args.runs >= 5 and len(rows) == 5 * args.runs
    if whole and not args.semi_sync:
        (ROOT / "doc/drills-results.md").write_text(page)
        say("written to doc/drills-results.md")


def measure(lab, args, folder, conditions, rows):
    lab.begin()
    say(as_text([heads()]))
    for fault in args.faults:
        for n in range(1, args.runs + 1):
            rows.append(run(lab, fault, n, args, folder))
            say(as_text([cells(rows[-1])]) + f"  ({rows[-1]['took_s']} s)")
            for w in rows[-1]["wrong"]:
                say(f"  wrong: {w}")
            keep(rows, args, folder, conditions)


def main():
    args = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begun, rows = datetime.datetime.utcnow(), []
    folder = ROOT / "bench/results" / f"accept-{begun:%Y%m%dT%H%M%SZ}"
    folder.mkdir(parents=True)
    subprocess.run([ROOT / "example/build-images.sh"], check=True, stdout=subprocess.DEVNULL)
    conditions = conditions_of(args, begun)
    lab = Example(folder, args.semi_sync)
    try:
        measure(lab, args, folder, conditions, rows)
    finally:
        if not args.keep:
            lab.mcp("down", check=False)
            for trace in lab_traces(lab.name):
                say(f"left behind: {trace}")
    say()
    say(as_text([heads(), *map(cells, rows), *summary_rows(rows)]))
    say()
    for aim in aims(rows):
        say(aim)
    say(f"evidence: {folder.relative_to(ROOT)}, {(datetime.datetime.utcnow() - begun).total_seconds() / 60:.0f} minutes")
    return 1 if any(r["wrong"] for r in rows) else 0


if __name__ == "__main__":
    sys.exit(main())

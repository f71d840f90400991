#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

WEB = [modtest.shutil.which("node") or "node", os.path.join(HERE, "main.mjs")]


def page():
    rows = [("/", {}, "ko", "견적 목록"), ("/?lang=en", {}, "en", "Quotes"),
            ("/", {"Accept-Language": "en-GB,ko"}, "en", "Quotes"),
            ("/?lang=constructor", {}, "ko", "견적 목록")]
    with modtest.Module(WEB, MCP_INSTANCE="<b>&web-1") as m:
        for path, headers, lang, text in rows:
            status, html = m.ask("GET", path, headers=headers)
            assert status == 200 and f'<html lang="{lang}">' in html and text in html, html
            assert '<b id="region">ap-seoul</b>' in html
            assert "&lt;b&gt;&amp;web-1" in html, "the instance must be escaped"
            assert "₩184,500,000" in html
        assert len(m.ask("GET", "/quotes")[1]["quotes"]) == 5


def assets():
    with modtest.Module(WEB) as m:
        client = m.client()
        client.request("GET", "/assets/style.css")
        reply = client.getresponse()
        assert reply.read().startswith(b"/* SPDX")
        assert reply.getheader("Content-Type") == "text/css; charset=utf-8"
        known = {"If-None-Match": reply.getheader("ETag")}
        client.request("GET", "/assets/style.css", headers=known)
        again = client.getresponse()
        assert (again.status, again.read()) == (304, b"")
        client.close()
        for path in ("/assets/../main.mjs", "/assets/%2e%2e/main.mjs", "/assets/", "/main.mjs"):
            assert m.ask("GET", path)[0] == 404, path


def head_and_bad_port():
    with modtest.Module(WEB) as m:
        answer = m.raw(b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200") and answer.endswith(b"\r\n\r\n"), answer
    for port in ("-1", "65536", "x"):
        done = modtest.subprocess.run(WEB, env={"PORT": port}, capture_output=True, timeout=10)
        assert done.returncode == 1 and b"PORT is not" in done.stdout, (port, done)


modtest.run({
    "web common": lambda: modtest.check_common(WEB),
    "web stop": lambda: modtest.check_stop(WEB),
    "web page": page,
    "web assets": assets,
    "web HEAD and bad port": head_and_bad_port,
})

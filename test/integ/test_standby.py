# SPDX-License-Identifier: Apache-2.0
"""Standbys on a real platform: they run, are ready, are called by nobody and call nobody; the failure of their module in
the main region admits them; what lost its calls gets them back when a person says so."""
import os
import pathlib

import pytest
from lablib import Lab, TWO_REGIONS, unique_name, wait_until

ROOT = pathlib.Path(__file__).resolve().parents[2]
LONG = os.environ.get("MCP_DRILLS") == "1"  # the full forms: `make drills`
SERVE = ("[/bin/busybox, sh, -c, 'mkdir /tmp/w; echo $MCP_INSTANCE on $MCP_HOST >/tmp/w/index.html; "
         "exec /bin/busybox httpd -f -p 8080 -h /tmp/w']")
# Well, but in the region that the secret names.
PROBE = """[/bin/busybox, sh, -c, 'test "$(/bin/busybox cat /run/secrets/sick)" != "$MCP_REGION"']"""
MODULES = f"""
modules:
  shop:
    image: oci:{ROOT}/example/images/busybox
    command: {SERVE}
    regions: {{{{ra: 1, rb: 1}}}}
    needs: [{{{{module: stock}}}}]
  stock:
    image: oci:{ROOT}/example/images/busybox
    command: {SERVE}
    port: 8080
    stop_timeout: 0s
    health: {{{{command: {PROBE}, interval: 1s, timeout: 900ms}}}}
    secrets: [sick]
    regions: {{{{ra: 1, rb: {{{{standby: 1}}}}}}}}
    needs: [{{{{module: far}}}}]
  far:
    image: oci:{ROOT}/example/images/busybox
    command: {SERVE}
    port: 8080
    regions: {{{{rb: 1}}}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    folder = tmp_path_factory.mktemp("standby")
    with Lab(TWO_REGIONS, name=unique_name("sb"), folder=folder) as lab:
        lab.up()
        lab.declare(TWO_REGIONS + MODULES)
        lab.mcp("apply")
        lab.mcp("secret", "set", "sick", input="nobody")
        lab.mcp("secret", "grant", "sick", "stock")
        wait_until(lambda: lab.status()["ready"], 120, "a ready platform")
        yield lab


def be_sick(lab, region):
    lab.mcp("secret", "rotate", "sick", input=region)


def busybox(lab, module, region, *words):
    return lab.mcp("exec", module, "--region", region, "--", "/bin/busybox", *words, check=False).stdout.strip()


def get(lab, module, region, name):
    """What a client in that unit gets; "" when it is refused. A static program's own resolving does not work."""
    address = busybox(lab, module, region, "nslookup", f"{name}.mcp.internal").split()[-1]
    return busybox(lab, module, region, "wget", "-q", "-O", "-", f"http://{address}:8080/")


def stock(lab, region):
    return next((u for u in lab.status()["units"] if u["module"] == "stock" and u["region"] == region), {})


def timeline(lab):
    return lab.mcp("timeline", "-n", 400).stdout


def test_a_standby_is_ready_and_neither_called_nor_calls(lab):
    unit = wait_until(lambda: stock(lab, "rb").get("state") == "ready" and stock(lab, "rb"), 60)
    assert unit["standby"] and not unit["admitted"] and unit["reason"] == "standby: admitted by promotion"
    wait_until(lambda: get(lab, "shop", "rb", "stock").startswith("stock-1 on a"), 60, "the active one, from afar")
    wait_until(lambda: get(lab, "stock", "ra", "far") == "far-1 on b1", 60)
    assert get(lab, "stock", "rb", "far") == ""
    assert " standby " in lab.mcp("status").stdout


def test_a_module_that_fails_alone_moves_and_comes_back_when_told(lab):
    be_sick(lab, "ra")
    wait_until(lambda: get(lab, "shop", "ra", "stock") == "stock-1 on b1", 90, "the standby, from the main region")
    assert stock(lab, "rb")["admitted"]
    wait_until(lambda: get(lab, "stock", "rb", "far") == "far-1 on b1", 60)
    assert "no instance was ready in ra for 15 s: the standby in rb is admitted" in timeline(lab)
    be_sick(lab, "nobody")
    wait_until(lambda: stock(lab, "ra").get("state") == "ready", 90, "the main one mended")
    unit = stock(lab, "ra")
    assert not unit["admitted"] and unit["reason"] == "not admitted: another region has taken over"
    assert get(lab, "stock", "ra", "far") == "" and get(lab, "shop", "ra", "stock") == "stock-1 on b1"
    refused = lab.mcp("failback", "stock", check=False)
    assert refused.returncode == 3 and "not for 60 s" in refused.stderr
    if not LONG:
        return
    wait_until(lambda: "`mcp failback stock` brings it back" in timeline(lab), 120)
    lab.mcp("failback", "stock")
    wait_until(lambda: get(lab, "shop", "rb", "stock").startswith("stock-1 on a"), 60)
    wait_until(lambda: get(lab, "stock", "ra", "far") == "far-1 on b1", 60)
    assert get(lab, "stock", "rb", "far") == "" and not stock(lab, "rb")["admitted"]

#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

WMS = modtest.c_module("wms")


def stock_of(m, sku):
    return next(s for s in m.ask("GET", "/v1/stock")[1]["stock"] if s["sku"] == sku)


def reserve():
    with modtest.Module(WMS) as m:
        want = {"sku": "KR-GINSENG-6Y", "quantity": 1000}
        status, made = m.ask("POST", "/v1/reservations", want)
        assert status == 201 and made["stock"]["reserved"] == 1000, made
        assert stock_of(m, "KR-GINSENG-6Y")["reserved"] == 1000
        assert "홍삼" in stock_of(m, "KR-GINSENG-6Y")["name"]
        assert m.ask("POST", "/v1/reservations", want)[0] == 409, "200 are left"
        assert m.ask("POST", "/v1/reservations", {**want, "quantity": 200})[0] == 201


def bad_reservations():
    rows = [(404, {"sku": "NO", "quantity": 1}), (422, {"sku": "NO"}), (422, {}), (400, "[")]
    with modtest.Module(WMS) as m:
        for want, body in rows:
            assert m.ask("POST", "/v1/reservations", body)[0] == want, body


modtest.run({
    "wms common": lambda: modtest.check_common(WMS),
    "wms stop": lambda: modtest.check_stop(WMS),
    "wms reserves": reserve,
    "wms bad reservations": bad_reservations,
})

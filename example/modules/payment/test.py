#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "testkit"))
import modtest

PAYMENT = modtest.c_module("payment")
CHARGE = {"order": "ord-1", "amount": 1250000, "currency": "KRW"}


def charge_once():
    with modtest.Module(PAYMENT) as m:
        status, first = m.ask("POST", "/v1/charges", CHARGE)
        assert status == 201 and first["state"] == "captured", first
        assert m.ask("POST", "/v1/charges", CHARGE) == (200, first)
        assert m.ask("POST", "/v1/charges", {**CHARGE, "amount": 1})[0] == 409
        assert m.ask("GET", "/v1/charges") == (200, {"total": 1, "charges": [first]})


def bad_charges():
    rows = [{**CHARGE, "currency": "XXX"}, {**CHARGE, "amount": -5}, {**CHARGE, "order": ""}, {}]
    with modtest.Module(PAYMENT) as m:
        for body in rows:
            assert m.ask("POST", "/v1/charges", body)[0] == 422, body
        assert m.ask("POST", "/v1/charges", "no")[0] == 400


modtest.run({
    "payment common": lambda: modtest.check_common(PAYMENT),
    "payment stop": lambda: modtest.check_stop(PAYMENT),
    "payment charges once": charge_once,
    "payment bad charges": bad_charges,
})

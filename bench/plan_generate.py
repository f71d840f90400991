# SPDX-License-Identifier: Apache-2.0
"""plan_generate.py DIR MODULES: a platform of four regions with that many modules, each with a route, a probe, limits,
environment, and an OCI image layout of its own (a manifest of a few bytes: resolving it reads what a real one would)."""
import hashlib
import json
import os
import sys

REGIONS = ["ap-hongkong", "ap-seoul", "ap-shanghai", "ap-bangkok"]


def image(folder, name):
    manifest = json.dumps({"schemaVersion": 2, "config": {"digest": "sha256:" + "0" * 64, "size": 2},
                           "layers": [], "annotations": {"name": name}}).encode()
    digest = hashlib.sha256(manifest).hexdigest()
    blobs = os.path.join(folder, "images", name, "blobs", "sha256")
    os.makedirs(blobs)
    with open(os.path.join(blobs, digest), "wb") as f:
        f.write(manifest)
    index = {"schemaVersion": 2, "manifests": [{"mediaType": "application/vnd.oci.image.manifest.v1+json",
                                                "digest": "sha256:" + digest, "size": len(manifest)}]}
    with open(os.path.join(folder, "images", name, "index.json"), "w") as f:
        json.dump(index, f)


def main():
    folder, modules = sys.argv[1], int(sys.argv[2])
    out = ["platform: bench", "domain: example.com", "regions:"]
    for i, region in enumerate(REGIONS):
        duty = ["main", "dr", "serving", "serving"][i]
        out.append(f"  {region}: {{duty: {duty}, address: 203.0.113.{i + 1}, network: 10.{i + 1}.0.0/16}}")
    out.append("hosts:")
    for i, region in enumerate(REGIONS):
        out.append(f"  host{i}: {{region: {region}, address: 10.{i + 1}.0.11, public: true}}")
    out += ["state: {members: [host0, host1, host2]}", "routing:", "  countries: {KR: [ap-seoul], CN: [ap-shanghai]}",
            "modules:"]
    for i in range(modules):
        name = f"module-{i}"
        out += [f"  {name}:", f"    image: oci:images/{name}", "    port: 8080", "    health: {path: /healthz}",
                f"    env: {{NAME: {name}, LEVEL: info}}",
                f"    route: {{names: [{name}.example.com], path: /v1, auth: none}}",
                "    regions: {ap-hongkong: 2, ap-seoul: {active: 1, standby: 1}, each: 1}",
                "    limits: {memory: 64MiB, cpu: 0.5, pids: 64}"]
        image(folder, name)
    with open(os.path.join(folder, "platform.yaml"), "w") as f:
        f.write("\n".join(out) + "\n")


main()

# SPDX-License-Identifier: Apache-2.0
"""Builds images and skips what stands: an image carries the digest of all that it was made from."""
import hashlib
import json
import os
import shutil
import tempfile

import images
import oci
import packages

KIT = os.path.dirname(os.path.abspath(__file__))


def digest_of(parts):
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def source_files(path):
    if os.path.isfile(path):
        return [path]
    found = [os.path.join(folder, name) for folder, _, names in os.walk(path) for name in names]
    return sorted(name for name in found
                  if "__pycache__" not in name and not os.path.basename(name).startswith("test."))


def file_digests(folder, names):
    return [(os.path.relpath(path, folder), oci.sha256_file(path))
            for name in names for path in source_files(os.path.join(folder, name))]


class Builder:
    def __init__(self, cache, compress):
        self.cache = cache
        self.compress = compress
        self.keys = {}
        gcc = packages.run(["gcc", "-dumpfullversion"], "the C modules need it")
        kit = [name for name in sorted(os.listdir(KIT)) if name.endswith(".py")]
        self.common = [packages.ARCH, compress, gcc, file_digests(KIT, kit)]

    def fetch(self, wanted):
        layers = [layer for image in wanted for layer in image.layers]
        packages.fetch_debs(self.cache, sorted({name for layer in layers for name in layer.debs}))
        if any(layer.node for layer in layers):
            packages.fetch_node(self.cache)

    def layer_key(self, layer):
        """Two runs that give the same key give the same layer."""
        if layer.name not in self.keys:
            debs = [os.path.basename(packages.deb(self.cache, name)) for name in layer.debs]
            node = packages.node_tarball(self.cache) if layer.node else ""
            sources = file_digests(images.MODULES_DIR, layer.sources)
            parts = [self.common, layer.name, debs, os.path.basename(node), sources]
            self.keys[layer.name] = digest_of(parts)
        return self.keys[layer.name]

    def layer(self, layer):
        """(description, blob file, what made it), from the cache or made now."""
        folder = os.path.join(self.cache, "layers")
        os.makedirs(folder, exist_ok=True)
        blob = os.path.join(folder, self.layer_key(layer))
        if not os.path.exists(blob + ".json"):
            with tempfile.TemporaryDirectory(dir=self.cache) as tree:
                layer.fill(tree, self.cache)
                description = oci.write_layer(tree, blob, self.compress)
            oci.Layout.replace(blob + ".json", oci.dump(description))
        with open(blob + ".json", encoding="utf-8") as f:
            return json.load(f), blob, layer.name

    def image(self, name, image, out):
        """The bytes of its layers, or None when it stood already."""
        layout = oci.Layout(os.path.join(out, name))
        inputs = digest_of([self.layer_key(layer) for layer in image.layers])
        if layout.inputs() == inputs:
            return None
        config = {"User": "1000:1000", "WorkingDir": "/tmp", "Env": [images.PATH, *image.env],
                  "Entrypoint": image.entrypoint, "StopSignal": "SIGTERM"}
        if image.cmd:
            config["Cmd"] = image.cmd
        if image.port:
            config["ExposedPorts"] = {"8080/tcp": {}}
        layers = [self.layer(layer) for layer in image.layers]
        return layout.write(layers, config, packages.ARCH, inputs)


def forget(cache):
    for name in ("debs", "npm", "layers"):
        shutil.rmtree(os.path.join(cache, name), ignore_errors=True)

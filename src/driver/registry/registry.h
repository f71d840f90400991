/* SPDX-License-Identifier: Apache-2.0 */
/* Images from where others keep them, through skopeo: a registry ("docker://HOST/NAME:TAG") or an
 * archive file ("oci-archive:PATH[:TAG]") into an OCI layout folder, under the tag "latest" there.
 * What the folder has already is not fetched again. Credentials are those that skopeo finds:
 * `skopeo login`, or the file that REGISTRY_AUTH_FILE names. A registry on this machine's loopback
 * may speak without TLS. Blocking, for minutes: for commands. */
#pragma once

#include "base/err/err.h"

MUST_CHECK int registry_fetch(const char *source, const char *layout, struct err *e);

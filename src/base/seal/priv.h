/* SPDX-License-Identifier: Apache-2.0 */
/* Inside base/seal: the pair of keys. */
#pragma once

#include "base/seal/seal.h"

#include <openssl/evp.h>

struct seal_key {
    EVP_PKEY *pair;
    uint8_t public_half[SEAL_KEY_SIZE];
    struct secret *private_half;
};

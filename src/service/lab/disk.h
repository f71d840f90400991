/* SPDX-License-Identifier: Apache-2.0 */
/* A lab host's disk: a sparse file holding ext4, mounted through a loop device that frees itself
 * with the last mount. At no time are two loop devices on one image: disk_attach() refuses, since
 * both would write. */
#pragma once

#include "base/err/err.h"

/* Makes and formats the image unless it is there. Interrupted: nothing is left under that name. */
MUST_CHECK int disk_make(const char *image, uint64_t size_bytes, struct err *e);
#define DISK_DEVICE_SIZE 32

/* Binds a free loop device to it. Returns its open descriptor: it frees itself when that is closed
 * and nothing is mounted. */
MUST_CHECK int disk_attach(const char *image, char ret_device[DISK_DEVICE_SIZE], struct err *e);
/* In the caller's mount namespace. Makes the mount point. */
MUST_CHECK int disk_mount(const char *device, const char *target, struct err *e);
/* Waits until no loop device holds the image: after the machine's death its mounts go away a moment
 * later. */
MUST_CHECK int disk_wait_free(const char *image, unsigned timeout_ms, struct err *e);
/* The loop devices that hold an image of the folder, as a mask of their numbers (those below 64). */
uint64_t disk_loops(const char *folder);
/* Removes those that this computer did not have from the start and that nobody uses now. */
void disk_remove_loops(uint64_t loops);
/* Same for every image in the folder. */
MUST_CHECK int disk_wait_all_free(const char *folder, unsigned timeout_ms, struct err *e);

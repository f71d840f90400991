/* SPDX-License-Identifier: Apache-2.0 */
/* The processes of a lab (design.md 1, "The lab is the distributed system"):
 *   machine    one per host and one for the client: what a computer and its init would be. Owns the
 *              host's mount, network, UTS and IPC namespaces, its disk, its wire to the WAN; keeps
 *              `mcp host` running. Another one, without namespaces of its own, keeps the WAN.
 *   wan        the switch between them (service/wan), unprivileged
 *   forwarder  lets this computer's browser in as a buyer (service/forwarder): in the client's
 *              network, unprivileged
 * They are started as `mcp lab-role NAME` with their descriptors in place (service/lab/spawn.c). */
#pragma once

/* Returns the process's exit status. */
int lab_role_main(const char *name);
int lab_machine_main(void);
int lab_wan_main(void);
int lab_forwarder_main(void);

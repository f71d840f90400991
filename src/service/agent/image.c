/* SPDX-License-Identifier: Apache-2.0 */
/* Units and their images: a start waits until the image is whole on this host, and what runs well is
 * not stopped for an image that is still on its way. */
#include "service/agent/priv.h"

static bool needs_image(const struct agent *a, const struct unit_spec *s)
{
    return a->cfg.images && s->runtime == UNIT_OCI;
}

/* What the store knows now, told to a unit that waits. True: the start goes on. */
static bool go_on(struct agent_unit *u)
{
    struct agent *a = u->agent;
    char text[IMAGES_TEXT_SIZE];
    enum images_state state = images_state(a->cfg.images, u->spec->image, text);
    struct unit_event ev = {.incarnation = u->life.incarnation, .text = text};
    switch (state) {
    case IMAGES_READY:
        u->awaits = false;
        ev.kind = UNIT_EV_BEGINS;
        agent_unit_feed(u, ev);
        return true;
    case IMAGES_BAD:
        u->awaits = false;
        ev.kind = UNIT_EV_START_FAILED;
        ev.permanent = true;
        agent_unit_feed(u, ev);
        return false;
    case IMAGES_MISSING:
        ev.kind = UNIT_EV_WAITING;
        agent_unit_feed(u, ev);
        return false;
    default:
        return false;
    }
}

/* Looked at for every start: what was whole yesterday may have been lost. */
bool agent_unit_image_here(struct agent_unit *u)
{
    struct agent *a = u->agent;
    if (!needs_image(a, u->spec))
        return true;
    u->awaits = true;
    images_check(a->cfg.images, u->spec->image);
    char text[IMAGES_TEXT_SIZE];
    if (images_state(a->cfg.images, u->spec->image, text) == IMAGES_MISSING)
        go_on(u);
    return false;
}

void agent_unit_stop_waiting(struct agent_unit *u)
{
    u->awaits = false;
    agent_unit_feed(u, (struct unit_event){.kind = UNIT_EV_START_FAILED,
                           .incarnation = u->life.incarnation,
                           .text = "was waiting for its image"});
}

void agent_image_changed(struct agent *a, const char *digest)
{
    for (struct agent_unit *u = a->units, *next; u; u = next) {
        next = u->next;
        if (u->awaits && !strcmp(u->spec->image, digest) && go_on(u))
            agent_unit_start_now(u);
    }
    agent_changed(a);
}

bool agent_unit_next_here(const struct agent_unit *u, char text[IMAGES_TEXT_SIZE])
{
    char unused[IMAGES_TEXT_SIZE];
    const struct unit_spec *s = agent_unit_latest(u);
    if (!needs_image(u->agent, s))
        return true;
    return images_state(u->agent->cfg.images, s->image, text ? text : unused) == IMAGES_READY;
}

void agent_want_images(struct agent *a)
{
    if (!a->cfg.images)
        return;
    const char **digests = xcalloc(a->boot->n + a->wanted->n + 1, sizeof *digests);
    size_t n = 0;
    for (size_t i = 0; i < a->boot->n; i++)
        if (needs_image(a, &a->boot->v[i]))
            digests[n++] = a->boot->v[i].image;
    for (size_t i = 0; i < a->wanted->n; i++)
        if (needs_image(a, &a->wanted->v[i]))
            digests[n++] = a->wanted->v[i].image;
    images_set_units(a->cfg.images, digests, n);
    free(digests);
}

static void add_used(const struct agent *a, json_t *list, const struct unit_spec *s)
{
    if (needs_image(a, s) && s->image)
        json_array_append_new(list, json_string(s->image));
}

json_t *agent_used_images(const struct agent *a)
{
    json_t *list = json_array();
    for (const struct agent_unit *u = a->units; u; u = u->next)
        if (u->life.alive && !u->awaits)
            add_used(a, list, u->spec);
    return list;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Man page source (man(7) macros) from plain text. Escapes whatever troff would take for its own,
 * so that prose from tables can never break a page; anything beyond ASCII becomes \[uXXXX], which
 * every output device knows how to show. */
#pragma once

#include "base/str/str.h"

/* Text within a line: no line break is added, those inside become blanks. */
void man_text(struct str *out, const char *text);
/* ".MACRO text" as one argument; text may be NULL. */
void man_macro(struct str *out, const char *macro, const char *text);
/* Prose: paragraphs are separated by an empty line, `words` in backquotes become bold. Lines that
 * begin with two blanks are shown as they are. */
void man_prose(struct str *out, const char *text);
/* .TP: a tag (bold) and its prose. */
void man_entry(struct str *out, const char *tag, const char *text);

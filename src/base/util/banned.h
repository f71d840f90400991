/* SPDX-License-Identifier: Apache-2.0 */
/* Force-included into every file: calls that have no safe use do not compile (git's banned.h). */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#ifdef MCP_WITH_LIBMARIADB /* its header names some of them in macros: it has to come first */
#include <mysql.h>
#endif

#pragma GCC poison strcpy strcat strncat strtok sprintf vsprintf gets atoi atol atoll system popen
#undef alloca
#pragma GCC poison alloca gmtime localtime ctime asctime

// SPDX-License-Identifier: Apache-2.0
// cli_session - a session that lives in a file from one command to the next.
//
// The file holds a token (protocol/bb_session_token.h) and nothing else; it is made at the first
// end of a command. Commands that share it and end at once add up: each reads it again under a lock
// before it writes.
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include "client/busbar.h"

// NULL path: no session, *session is NULL. False after complaining: the file cannot be read, or is
// no token.
bool cli_session_open(const char *path, busbar_session_t **session);
// Adds the session to its file and destroys it. False after complaining.
bool cli_session_close(const char *path, busbar_session_t **session);

#endif

// SPDX-License-Identifier: Apache-2.0
// bb_window_checker - reads a suspect window in a child process: busbar-inspect, which is installed
// beside busbard. If it is not there, nothing is started, and the window stays closed.
//
// No state of its own; calls do not wait, but for the end of a child that was killed.
#ifndef BB_WINDOW_CHECKER_H
#define BB_WINDOW_CHECKER_H

#include "storage/bb_store.h"

bb_store_checker_t bb_window_checker(void);

#endif

// SPDX-License-Identifier: Apache-2.0
// sim_picture - a run as a sequence diagram: lifelines of clients and nodes, messages, what
// happened.
//
// One thread. Collects while the run goes and writes one SVG file at the end, of the last rows
// before the finding; a run that was minimised fits as a whole. Time runs downwards, a row for each
// thing that happens, so distances say order, and the numbers at the left say when. A message that
// is lost ends in a cross; one that was repeated is dotted; a node that is down has a thin line.
#ifndef SIM_PICTURE_H
#define SIM_PICTURE_H

#include "tests/sim/sim_options.h"

typedef struct sim_picture sim_picture_t;

#define SIM_PICTURE_ROWS_MAX 600u
// Of no lifeline: across the whole picture.
#define SIM_LINE_ALL UINT32_MAX
static inline uint32_t sim_line_of_client(uint32_t client)
{
    return client;
}
static inline uint32_t sim_line_of_node(const sim_options_t *options, uint32_t node)
{
    return options->client_count + node;
}

typedef enum { SIM_MESSAGE_SENT, SIM_MESSAGE_REPEATED, SIM_MESSAGE_LOST } sim_message_fate_t;

sim_picture_t *sim_picture_new(const sim_options_t *options);
void sim_picture_destroy(sim_picture_t **self);
// Copies the text. arrival_ns is not looked at for a message that is LOST.
void sim_picture_message(sim_picture_t *self, int64_t now_ns, int64_t arrival_ns,
                         uint32_t from_line, uint32_t to_line, sim_message_fate_t fate,
                         const char *text);
void sim_picture_note(sim_picture_t *self, int64_t now_ns, uint32_t line, bool is_fault,
                      const char *text);
void sim_picture_up(sim_picture_t *self, int64_t now_ns, uint32_t line, bool is_up);
// False: the file cannot be written. `title` goes on top, `finding` (may be empty) at the end.
bool sim_picture_write(const sim_picture_t *self, const char *path, const char *title,
                       const char *finding, int64_t end_ns);

#endif

// SPDX-License-Identifier: Apache-2.0
// Prints minimum, mean and maximum of each numeric metric of the last hour, minute by minute.
//
//   cc query.c $(pkg-config --cflags --libs busbar) -o query && ./query demo/client.yaml [battery]
#include <busbar.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static double s_number(busbar_type_t type, busbar_value_t value)
{
    return type == BUSBAR_FLOAT64 ? value.number : (double)value.integer;
}

int main(int argc, char **argv)
{
    busbar_fault_t fault;
    busbar_client_t *client = NULL;
    if (argc < 2 || argc > 3) {
        fprintf(stderr, "usage: %s client.yaml [battery]\n", argv[0]);
        return 2;
    }
    if (busbar_open(argv[1], NULL, &client, &fault) != BUSBAR_OK) {
        fprintf(stderr, "%s\n", fault.text);
        return 2;
    }
    const char *battery = argc == 3 ? argv[2] : "example-1";
    int64_t now_ns = (int64_t)time(NULL) * BUSBAR_SECOND;
    busbar_query_t query = {.mode = BUSBAR_AGGREGATE,
                            .batteries = &battery,
                            .battery_count = 1,
                            .from_ns = now_ns - 3600 * BUSBAR_SECOND,
                            .to_ns = now_ns,
                            .every_ns = 60 * BUSBAR_SECOND,
                            .aggregates = BUSBAR_MIN | BUSBAR_MEAN | BUSBAR_MAX};
    busbar_rows_t *rows = NULL;
    if (busbar_query(client, &query, &rows, &fault) != BUSBAR_OK) {
        fprintf(stderr, "%s\n", fault.text);
        busbar_close(&client);
        return 4;
    }
    busbar_row_t row;
    while (busbar_rows_next(rows, &row)) {
        if (row.type != BUSBAR_STATE) {
            printf("%" PRId64 " %s %s %g %g %g\n", row.time_ns / BUSBAR_SECOND, row.battery,
                   row.metric, s_number(row.type, row.min), row.mean, s_number(row.type, row.max));
        }
    }
    bool complete = false;
    size_t missing_count = 0;
    int result = 0;
    if (busbar_rows_status(rows, &complete, NULL, &missing_count, &fault) != BUSBAR_OK) {
        fprintf(stderr, "%s\n", fault.text);
        result = 4;
    } else if (!complete) {
        fprintf(stderr, "partial: %zu partitions could not be read\n", missing_count);
        result = 3;
    }
    busbar_rows_close(&rows);
    busbar_close(&client);
    return result;
}

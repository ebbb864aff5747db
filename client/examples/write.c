// SPDX-License-Identifier: Apache-2.0
// Writes an hour of one battery, one frame a second, and says what became of it.
//
//   cc write.c $(pkg-config --cflags --libs busbar) -o write && ./write demo/client.yaml
#include <busbar.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

static void s_on_delivery(void *context, const busbar_delivery_t *delivery)
{
    (void)context;
    for (uint32_t i = 0; i < delivery->rejection_count; i++) {
        const busbar_rejection_t *rejection = &delivery->rejections[i];
        fprintf(stderr, "frame %" PRIu64 ": %s: %s\n", rejection->user_frame,
                busbar_status_name(rejection->status), rejection->detail);
    }
}

int main(int argc, char **argv)
{
    busbar_fault_t fault;
    busbar_client_t *client = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: %s client.yaml\n", argv[0]);
        return 2;
    }
    if (busbar_open(argv[1], NULL, &client, &fault) != BUSBAR_OK) {
        fprintf(stderr, "%s\n", fault.text);
        return 2;
    }
    busbar_writer_options_t options = {.on_delivery = s_on_delivery};
    busbar_writer_t *writer = busbar_writer_open(client, &options);

    // Names once; after this, small numbers.
    const busbar_metric_t metrics[] = {{"voltage_v", BUSBAR_FLOAT64},
                                       {"current_a", BUSBAR_FLOAT64},
                                       {"cycles", BUSBAR_INT64},
                                       {"state", BUSBAR_STATE}};
    const busbar_attribute_t site = {"site", "roof"};
    uint32_t shape, battery;
    busbar_totals_t totals = {0};
    int64_t from_ns = ((int64_t)time(NULL) - 3600) * BUSBAR_SECOND;
    busbar_status_t status = busbar_writer_shape(writer, metrics, 4, &shape, &fault);
    if (status == BUSBAR_OK) {
        status = busbar_writer_battery(writer, "example-1", &site, 1, &battery, &fault);
    }
    for (int second = 0; status == BUSBAR_OK && second < 3600; second++) {
        busbar_value_t values[] = {{.number = 48.0 + second * 0.001},
                                   {.number = second % 60 < 30 ? 12.5 : -12.5},
                                   {.integer = 311},
                                   {.text = second % 60 < 30 ? "Charging" : "Discharging"}};
        status = busbar_writer_append(writer, battery, shape, from_ns + second * BUSBAR_SECOND,
                                      values, &fault);
    }
    if (status != BUSBAR_OK) {
        fprintf(stderr, "%s\n", fault.text);
    }
    busbar_writer_close(&writer, 10 * BUSBAR_SECOND, &totals); // waits for every answer
    printf("%" PRIu64 " points: %" PRIu64 " acknowledged, %" PRIu64 " rejected, %" PRIu64
           " unknown\n",
           totals.points, totals.acked_points, totals.rejected_points, totals.unknown_points);
    busbar_close(&client);
    return status == BUSBAR_OK && totals.acked_points == totals.points ? 0 : 1;
}

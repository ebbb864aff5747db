// SPDX-License-Identifier: Apache-2.0
// busbar scrub: every node verifies what it has on disk, now; damage is named.
#include <inttypes.h>
#include <stdio.h>

#include "client/cli/cli_context.h"
#include "client/cli/cli_output.h"

typedef struct {
    cli_form_t form;
    uint64_t line_count;
} s_lines_t;

static void s_on_damage(void *context, const char *node, const char *line)
{
    s_lines_t *lines = context;
    if (lines->form == CLI_JSON) {
        printf("%s{\"node\":", lines->line_count > 0 ? "," : "");
        cli_json_string(node);
        printf(",\"what\":");
        cli_json_string(line);
        printf("}");
    } else {
        printf("%s: %s\n", node, line);
    }
    lines->line_count++;
}

int cli_verb_scrub(const cli_context_t *context, int argc, char **argv)
{
    const char *form_name = NULL;
    int64_t timeout_ns = 600 * BB_NS_PER_S;
    uint64_t rate_bytes_per_s = UINT64_MAX;
    const cli_option_t options[] = {
        {"--rate", CLI_COUNT, &rate_bytes_per_s, NULL, "BYTES",
         "bytes a second and store; 0 as configured (default: no limit)"},
        {"--timeout", CLI_DURATION, &timeout_ns, NULL, "D", "how long to wait (default 10m)"},
        {"-o --output", CLI_TEXT, &form_name, NULL, "FORM", "table (default) or json"},
    };
    const cli_command_t command = {"scrub",
                                   "[--rate BYTES] [--timeout D] [-o table|json]",
                                   "Every node reads all of its windows and verifies them. Damage, "
                                   "found now or known before,\n"
                                   "is named. Exit status 1 when there is some.",
                                   options,
                                   BB_COUNT_OF(options),
                                   NULL};
    cli_texts_t arguments = {0};
    s_lines_t lines = {0};
    int exit_status = CLI_EXIT_USAGE;
    busbar_client_t *client = NULL;
    busbar_fault_t fault = {0};
    uint64_t damaged = 0;
    uint64_t bytes = 0;
    if (!cli_parse(&command, context, argc, argv, &arguments, &exit_status) ||
        !cli_no_arguments(&command, &arguments) || !cli_form(form_name, &lines.form)) {
        goto out;
    }
    client = cli_client_open(context, NULL, timeout_ns, &exit_status);
    if (!client) {
        goto out;
    }
    if (lines.form == CLI_JSON) {
        printf("{\"damage\":[");
    }
    busbar_status_t status = busbar_scrub(client, rate_bytes_per_s, timeout_ns, s_on_damage, &lines,
                                          &damaged, &bytes, &fault);
    if (lines.form == CLI_JSON) {
        printf("],\"damaged\":%" PRIu64 ",\"verified_bytes\":%" PRIu64 ",\"complete\":%s}\n",
               damaged, bytes, status == BUSBAR_OK ? "true" : "false");
    } else if (status == BUSBAR_OK) {
        printf("%" PRIu64 " bytes verified, %" PRIu64 " damaged\n", bytes, damaged);
    }
    exit_status = status != BUSBAR_OK ? cli_failed("scrub", &fault)
                  : damaged > 0       ? CLI_EXIT_REJECTED
                                      : CLI_EXIT_OK;
out:
    busbar_close(&client);
    cli_texts_clear(&arguments);
    return exit_status;
}

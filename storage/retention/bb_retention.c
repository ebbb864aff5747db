// SPDX-License-Identifier: Apache-2.0
#include "storage/retention/bb_retention.h"

#include <stdlib.h>
#include <string.h>

#define S_NAME_OFFSET 16u
#define S_NAME_BYTES  (BB_RETENTION_RECORD_BYTES - S_NAME_OFFSET)
static_assert(BB_NODE_ID_BYTES_MAX + 1 <= S_NAME_BYTES, "a name and its end fit");

typedef struct {
    char name[BB_NODE_ID_BYTES_MAX + 1];
    int64_t keep_ns;
    int64_t intake_wall_ns, durable_wall_ns; // floors
} s_class_t;

struct bb_retention {
    bb_policy_t *policy;
    s_class_t *classes; // by number
    uint32_t class_count, class_capacity;
    uint32_t ids[BB_RETENTION_CLASSES_MAX + 1]; // of the policy's classes
    int64_t intake_max_wall_ns;                 // of the policy's classes
    int64_t durable_max_wall_ns;                // of all classes
    bool is_changed;
    uint64_t *batteries; // sets of bits; 0 = not worked out
    uint32_t battery_capacity;
};

static s_class_t *s_class_add(bb_retention_t *self, const char *name)
{
    if (self->class_count == self->class_capacity) {
        self->class_capacity = self->class_capacity ? self->class_capacity * 2 : 4;
        self->classes = bb_realloc(self->classes, self->class_capacity * sizeof *self->classes);
    }
    s_class_t *class = &self->classes[self->class_count++];
    *class = (s_class_t){.keep_ns = BB_KEEP_FOREVER_NS};
    strcpy(class->name, name);
    return class;
}

static uint32_t s_class_find(const bb_retention_t *self, const char *name)
{
    uint32_t i = 0;
    while (i < self->class_count && strcmp(self->classes[i].name, name) != 0) {
        i++;
    }
    return i;
}

bb_retention_t *bb_retention_new(void)
{
    bb_retention_t *self = bb_alloc_zero(1, sizeof *self);
    self->policy = bb_policy_new_empty();
    s_class_add(self, BB_RETENTION_DEFAULT);
    return self;
}

void bb_retention_destroy(bb_retention_t **self)
{
    BB_ASSERT(self);
    if (*self) {
        bb_policy_release(&(*self)->policy);
        free((*self)->classes);
        free((*self)->batteries);
        free(*self);
        *self = NULL;
    }
}

// ---- records ---------------------------------------------------------------------------------
static void s_put_u64(uint8_t *out, uint64_t number)
{
    for (uint32_t i = 0; i < 8; i++) {
        out[i] = (uint8_t)(number >> 8 * i);
    }
}

static uint64_t s_u64(const uint8_t *bytes)
{
    uint64_t number = 0;
    for (uint32_t i = 0; i < 8; i++) {
        number |= (uint64_t)bytes[i] << 8 * i;
    }
    return number;
}

bb_error_t bb_retention_load(bb_retention_t *self, uint32_t class_id, bb_slice_t record,
                             bb_fault_t *fault)
{
    BB_ASSERT(self);
    const uint8_t *bytes = record.data;
    const char *name = (const char *)bytes + S_NAME_OFFSET;
    bool is_good = record.length == BB_RETENTION_RECORD_BYTES && class_id < BB_RETENTION_IDS_MAX;
    size_t length = is_good ? strnlen(name, S_NAME_BYTES) : 0;
    int64_t keep_ns = is_good ? (int64_t)s_u64(bytes) : 0;
    int64_t floor_wall_ns = is_good ? (int64_t)s_u64(bytes + 8) : -1;
    is_good = is_good && length >= 1 && length <= BB_NODE_ID_BYTES_MAX && keep_ns > 0 &&
              floor_wall_ns >= 0 && floor_wall_ns % BB_NS_PER_DAY == 0;
    // `default` is there before its record; the others come in order.
    is_good = is_good && (class_id == 0 ? strcmp(name, BB_RETENTION_DEFAULT) == 0
                                        : class_id == self->class_count &&
                                              s_class_find(self, name) == self->class_count);
    if (!is_good) {
        return bb_fault_set(fault, BB_ERR_CORRUPT, "meta: the record of retention class %u",
                            class_id);
    }
    s_class_t *class = class_id == 0 ? &self->classes[0] : s_class_add(self, name);
    class->keep_ns = keep_ns;
    class->intake_wall_ns = floor_wall_ns;
    class->durable_wall_ns = floor_wall_ns;
    self->durable_max_wall_ns = BB_MAX(self->durable_max_wall_ns, floor_wall_ns);
    return BB_OK;
}

uint32_t bb_retention_class_count(const bb_retention_t *self)
{
    return self->class_count;
}

const char *bb_retention_name(const bb_retention_t *self, uint32_t class_id)
{
    BB_ASSERT(class_id < self->class_count);
    return self->classes[class_id].name;
}

void bb_retention_record(const bb_retention_t *self, uint32_t class_id, int64_t floor_wall_ns,
                         uint8_t out[BB_RETENTION_RECORD_BYTES])
{
    BB_ASSERT(class_id < self->class_count);
    const s_class_t *class = &self->classes[class_id];
    memset(out, 0, BB_RETENTION_RECORD_BYTES);
    s_put_u64(out, (uint64_t) class->keep_ns);
    s_put_u64(out + 8, (uint64_t)floor_wall_ns);
    memcpy(out + S_NAME_OFFSET, class->name, strlen(class->name));
}

bool bb_retention_is_changed(const bb_retention_t *self)
{
    return self->is_changed;
}

void bb_retention_records_saved(bb_retention_t *self)
{
    self->is_changed = false;
}

// ---- policy ----------------------------------------------------------------------------------
static void s_find_max(bb_retention_t *self)
{
    self->intake_max_wall_ns = 0;
    for (uint32_t i = 0; i <= bb_policy_class_count(self->policy); i++) {
        self->intake_max_wall_ns =
            BB_MAX(self->intake_max_wall_ns, self->classes[self->ids[i]].intake_wall_ns);
    }
}

void bb_retention_policy_set(bb_retention_t *self, bb_policy_t *policy)
{
    BB_ASSERT(self && policy);
    bb_policy_t *before = self->policy;
    self->policy = bb_policy_retain(policy);
    bb_policy_release(&before);
    for (uint32_t i = 0; i <= bb_policy_class_count(policy); i++) {
        const bb_retention_class_t *wanted = bb_policy_class(policy, i);
        uint32_t id = s_class_find(self, wanted->name);
        if (id == self->class_count && id == BB_RETENTION_IDS_MAX) {
            self->ids[i] = 0; // kept as long as `default` says
            continue;
        }
        if (id == self->class_count) {
            s_class_add(self, wanted->name);
            self->is_changed = true;
        }
        self->is_changed |= self->classes[id].keep_ns != wanted->keep_ns;
        self->classes[id].keep_ns = wanted->keep_ns;
        self->ids[i] = id;
    }
    if (self->batteries) {
        memset(self->batteries, 0, self->battery_capacity * sizeof *self->batteries);
    }
    s_find_max(self);
}

bb_policy_t *bb_retention_policy(const bb_retention_t *self)
{
    return self->policy;
}

// ---- floors ----------------------------------------------------------------------------------
bool bb_retention_step(bb_retention_t *self, int64_t now_wall_ns)
{
    bool is_above = false;
    for (uint32_t i = 0; i < self->class_count; i++) {
        s_class_t *class = &self->classes[i];
        class->intake_wall_ns =
            bb_retention_floor(class->intake_wall_ns, class->keep_ns, now_wall_ns);
        BB_ASSERT(class->intake_wall_ns >= class->durable_wall_ns);
        is_above |= class->intake_wall_ns > class->durable_wall_ns;
    }
    s_find_max(self);
    return is_above;
}

int64_t bb_retention_intake_floor(const bb_retention_t *self, uint32_t class_id)
{
    BB_ASSERT(class_id < self->class_count);
    return self->classes[class_id].intake_wall_ns;
}

int64_t bb_retention_durable_floor(const bb_retention_t *self, uint32_t class_id)
{
    BB_ASSERT(class_id < self->class_count);
    return self->classes[class_id].durable_wall_ns;
}

int64_t bb_retention_intake_floor_max(const bb_retention_t *self)
{
    return self->intake_max_wall_ns;
}

int64_t bb_retention_durable_floor_max(const bb_retention_t *self)
{
    return self->durable_max_wall_ns;
}

void bb_retention_saved(bb_retention_t *self, uint32_t class_id, int64_t floor_wall_ns)
{
    BB_ASSERT(class_id < self->class_count);
    s_class_t *class = &self->classes[class_id];
    BB_ASSERT(floor_wall_ns >= class->durable_wall_ns);
    BB_ASSERT(floor_wall_ns <= class->intake_wall_ns);
    class->durable_wall_ns = floor_wall_ns;
    self->durable_max_wall_ns = BB_MAX(self->durable_max_wall_ns, floor_wall_ns);
}

// ---- classes of series -----------------------------------------------------------------------
uint64_t bb_retention_battery(bb_retention_t *self, const bb_dictionary_t *dictionary,
                              uint32_t battery)
{
    if (!bb_policy_names_batteries(self->policy)) {
        return UINT64_MAX;
    }
    if (battery >= self->battery_capacity) {
        uint32_t capacity = BB_MAX(battery + 1, self->battery_capacity * 2);
        self->batteries = bb_realloc(self->batteries, capacity * sizeof *self->batteries);
        memset(self->batteries + self->battery_capacity, 0,
               (capacity - self->battery_capacity) * sizeof *self->batteries);
        self->battery_capacity = capacity;
    }
    if (self->batteries[battery] == 0) {
        bb_attribute_t attributes[BB_ATTRIBUTES_MAX];
        uint32_t count = bb_dictionary_attribute_pairs(dictionary, battery, attributes);
        self->batteries[battery] = bb_policy_battery_classes(self->policy, attributes, count);
    }
    return self->batteries[battery];
}

void bb_retention_battery_changed(bb_retention_t *self, uint32_t battery)
{
    if (battery < self->battery_capacity) {
        self->batteries[battery] = 0;
    }
}

uint32_t bb_retention_class_of(const bb_retention_t *self, uint64_t battery_classes,
                               uint64_t metric_classes)
{
    return self->ids[bb_policy_join(battery_classes, metric_classes)];
}

bool bb_retention_is_single(const bb_retention_t *self)
{
    return bb_policy_class_count(self->policy) == 0;
}

// ---- the map ---------------------------------------------------------------------------------
bb_class_map_t *bb_class_map_new(bb_retention_t *retention, const bb_dictionary_t *dictionary)
{
    bb_class_map_t *self = bb_alloc_zero(1, sizeof *self);
    const bb_policy_t *policy = retention->policy;
    self->is_single = bb_retention_is_single(retention);
    self->id_count = bb_policy_class_count(policy) + 1;
    for (uint32_t i = 0; i < self->id_count; i++) {
        self->ids[i] = retention->ids[i];
        self->floors_wall_ns[i] = bb_retention_durable_floor(retention, retention->ids[i]);
    }
    if (self->is_single) {
        return self;
    }
    self->metric_count = bb_dictionary_metric_count(dictionary);
    self->metrics = bb_alloc((self->metric_count + 1) * sizeof *self->metrics);
    for (uint32_t i = 0; i < self->metric_count; i++) {
        self->metrics[i] =
            bb_policy_metric_classes(policy, bb_dictionary_metric_name(dictionary, i));
    }
    if (bb_policy_names_batteries(policy)) {
        self->battery_count = bb_dictionary_battery_count(dictionary);
        self->batteries = bb_alloc((self->battery_count + 1) * sizeof *self->batteries);
        for (uint32_t i = 0; i < self->battery_count; i++) {
            self->batteries[i] = bb_retention_battery(retention, dictionary, i);
        }
    }
    return self;
}

void bb_class_map_destroy(bb_class_map_t **self)
{
    if (*self) {
        free((*self)->metrics);
        free((*self)->batteries);
        free(*self);
        *self = NULL;
    }
}

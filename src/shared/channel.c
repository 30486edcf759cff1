/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * channel — messages to packets and back; see channel.h
 *
 * A packet is its type (u32) and then the fields of that type, always in the
 * order of the table `fields`, with nothing between them and nothing after:
 *
 *     number   u8, u32 or u64, host byte order
 *     string   u16 length, the bytes, one NUL (not counted)
 *
 * so every message has exactly one packet and every accepted packet exactly one
 * message: what parse takes, build gives back byte for byte (the fuzz target holds
 * it to that). One table says which fields a type has, one what a field may be;
 * message_valid() adds what concerns two fields at once. Both directions ask the
 * same tables, so a message that cannot be parsed cannot be built either.
 */

#include <errno.h>
#include <limits.h>
#include <string.h>

#include "cloudsync/engine.h"
#include "shared/channel.h"
#include "shared/names.h"

#define ERRNO_MAX 4095
#define STATE_DIR_MAX 4000u
#define DETAIL_MAX CHANNEL_DETAIL_MAX

enum field_kind {
        FIELD_BOOL,   /* u8, 0 or 1 */
        FIELD_U32,
        FIELD_I32,
        FIELD_U64,
        FIELD_I64,
        FIELD_STRING,
};

enum field_id {
        REQUEST, VERSION, FLAGS, MAX_REQUESTS, OFFSET, LENGTH, SIZE, MTIME_SEC, MTIME_NSEC,
        SLOT, COUNT, RESULT, RETRY_AFTER, SKIPPED, HAS_VERSION, STEP, CONDITION,
        ID, MODULE, STATE_DIR, KEY, VALUE, LOCATOR, FILE_VERSION, DETAIL, TEXT,
        N_FIELDS,
};

#define BIT(field) (1u << (field))

/* Where a field lives and its bounds: of the number, or of the string's length. */
static const struct field {
        enum field_kind kind;
        size_t offset;
        uint64_t min, max;
} fields[N_FIELDS] = {
#define FIELD(kind_, member, min_, max_)                                                           \
        {FIELD_##kind_, offsetof(struct channel_message, member), min_, max_}
        [REQUEST] = FIELD(U64, request, 1, UINT64_MAX),
        [VERSION] = FIELD(U32, version, 0, UINT32_MAX),
        [FLAGS] = FIELD(U32, flags, 0, UINT32_MAX),
        [MAX_REQUESTS] = FIELD(U32, max_requests, 1, CHANNEL_REQUESTS_MAX),
        [OFFSET] = FIELD(U64, offset, 0, INT64_MAX),
        [LENGTH] = FIELD(U64, length, 1, INT64_MAX),
        [SIZE] = FIELD(U64, size, 0, INT64_MAX),
        [MTIME_SEC] = FIELD(I64, mtime_sec, 0, 0),
        [MTIME_NSEC] = FIELD(U32, mtime_nsec, 0, 999999999),
        [SLOT] = FIELD(U32, slot, 0, CHANNEL_SLOTS - 1),
        [COUNT] = FIELD(U32, count, 1, CHANNEL_SLOT_SIZE),
        [RESULT] = FIELD(I32, result, 0, 0),
        [RETRY_AFTER] = FIELD(U32, retry_after_ms, 0, UINT32_MAX),
        [SKIPPED] = FIELD(U32, skipped, 0, UINT32_MAX),
        [HAS_VERSION] = FIELD(BOOL, has_version, 0, 1),
        [STEP] = FIELD(U32, step, CS_LOGIN_BEGIN, CS_LOGIN_LOGOUT),
        [CONDITION] = FIELD(U32, condition, CS_CONDITION_GOOD, CS_CONDITION_NEEDS_LOGIN),
        [ID] = FIELD(STRING, id, 1, NAME_ID_MAX),
        [MODULE] = FIELD(STRING, module, 1, NAME_ID_MAX),
        [STATE_DIR] = FIELD(STRING, state_dir, 0, STATE_DIR_MAX),
        [KEY] = FIELD(STRING, key, 1, NAME_SETTING_KEY_MAX),
        [VALUE] = FIELD(STRING, value, 0, NAME_SETTING_VALUE_MAX),
        [LOCATOR] = FIELD(STRING, locator, 0, CS_LOCATOR_MAX),
        [FILE_VERSION] = FIELD(STRING, file_version, 0, CS_VERSION_MAX),
        [DETAIL] = FIELD(STRING, detail, 0, DETAIL_MAX),
        [TEXT] = FIELD(STRING, text, 0, CS_LOGIN_TEXT_MAX),
#undef FIELD
};

static const struct type {
        enum channel_type type;
        const char *name;
        uint32_t fields;
} types[] = {
        {CHANNEL_HELLO, "HELLO", BIT(VERSION) | BIT(ID) | BIT(MODULE) | BIT(STATE_DIR)},
        {CHANNEL_SETTING, "SETTING", BIT(KEY) | BIT(VALUE)},
        {CHANNEL_START, "START", 0},
        {CHANNEL_LIST, "LIST", BIT(REQUEST) | BIT(LOCATOR)},
        {CHANNEL_STAT, "STAT", BIT(REQUEST) | BIT(LOCATOR)},
        {CHANNEL_FETCH, "FETCH",
         BIT(REQUEST) | BIT(OFFSET) | BIT(LENGTH) | BIT(SIZE) | BIT(MTIME_SEC) | BIT(MTIME_NSEC) |
                 BIT(HAS_VERSION) | BIT(LOCATOR) | BIT(FILE_VERSION)},
        {CHANNEL_CANCEL, "CANCEL", BIT(REQUEST)},
        {CHANNEL_RELEASE, "RELEASE", BIT(SLOT)},
        {CHANNEL_QUIT, "QUIT", 0},
        {CHANNEL_PING, "PING", 0},
        {CHANNEL_LOGIN, "LOGIN", BIT(REQUEST) | BIT(STEP) | BIT(TEXT)},
        {CHANNEL_READY, "READY", BIT(FLAGS) | BIT(MAX_REQUESTS)},
        {CHANNEL_FAILED, "FAILED", BIT(RESULT) | BIT(DETAIL)},
        {CHANNEL_ENTRIES, "ENTRIES", BIT(REQUEST) | BIT(LENGTH) | BIT(SLOT) | BIT(COUNT)},
        {CHANNEL_DATA, "DATA", BIT(REQUEST) | BIT(OFFSET) | BIT(LENGTH) | BIT(SLOT)},
        {CHANNEL_DONE, "DONE",
         BIT(REQUEST) | BIT(RESULT) | BIT(RETRY_AFTER) | BIT(SKIPPED) | BIT(DETAIL)},
        {CHANNEL_CHANGED, "CHANGED", BIT(LOCATOR)},
        {CHANNEL_PONG, "PONG", 0},
        {CHANNEL_CONDITION, "CONDITION", BIT(CONDITION) | BIT(DETAIL)},
};

static const struct type *type_find(uint32_t type) {
        for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
                if ((uint32_t)types[i].type == type)
                        return &types[i];
        return NULL;
}

const char *channel_type_name(enum channel_type type) {
        const struct type *t = type_find((uint32_t)type);

        return t ? t->name : "?";
}

bool channel_type_is_from_host(enum channel_type type) {
        return type >= CHANNEL_READY;
}

/* What one field alone cannot say. Every string is set here. */
static bool message_valid(const struct channel_message *m) {
        switch (m->type) {
        case CHANNEL_HELLO:
                return name_is_id(m->id) && name_is_id(m->module);
        case CHANNEL_SETTING:
                return name_is_setting_key(m->key);
        case CHANNEL_FETCH:
                return *m->locator && m->length <= m->size && m->offset <= m->size - m->length &&
                       (m->has_version || !*m->file_version);
        case CHANNEL_DATA:
                return m->length <= CHANNEL_SLOT_SIZE && m->offset <= INT64_MAX - m->length;
        case CHANNEL_ENTRIES:
                return m->length <= CHANNEL_SLOT_SIZE && m->count <= m->length;
        case CHANNEL_FAILED:
                return m->result < 0 && m->result >= -ERRNO_MAX;
        case CHANNEL_DONE:
                return m->result <= 0 && m->result >= -ERRNO_MAX;
        default:
                return true;
        }
}

static size_t number_size(enum field_kind kind) {
        switch (kind) {
        case FIELD_BOOL:
                return 1;
        case FIELD_U32:
        case FIELD_I32:
                return 4;
        default:
                return 8;
        }
}

static bool number_in_bounds(const struct field *f, const void *member) {
        uint64_t value;
        uint32_t value32;

        switch (f->kind) {
        case FIELD_BOOL:
                value = *(const unsigned char *)member;
                break;
        case FIELD_U32:
                memcpy(&value32, member, sizeof(value32));
                value = value32;
                break;
        case FIELD_U64:
                memcpy(&value, member, sizeof(value));
                break;
        default: /* signed: any value, or bounded by message_valid() */
                return true;
        }
        return value >= f->min && value <= f->max;
}

struct cursor {
        char *out;      /* build */
        const char *in; /* parse */
        size_t position, length;
};

static int put(struct cursor *c, const void *bytes, size_t n) {
        if (n > c->length - c->position)
                return -EMSGSIZE;
        memcpy(c->out + c->position, bytes, n);
        c->position += n;
        return 0;
}

static int put_string(struct cursor *c, const struct field *f, const char *s) {
        size_t n = strnlen(s, f->max + 1);
        uint16_t n16;
        int r;

        if (n < f->min || n > f->max)
                return -EINVAL;
        n16 = (uint16_t)n;
        r = put(c, &n16, sizeof(n16));
        return r < 0 ? r : put(c, s, n + 1);
}

int channel_build(const struct channel_message *message, void *packet, size_t capacity) {
        const struct type *t = type_find((uint32_t)message->type);
        struct channel_message m = *message;
        struct cursor c = {.out = packet, .length = capacity};
        uint32_t type32 = (uint32_t)message->type;
        int r;

        if (!t)
                return -EINVAL;
        if (c.length > CHANNEL_PACKET_MAX)
                c.length = CHANNEL_PACKET_MAX;
        for (int i = ID; i < N_FIELDS; i++) {
                const char **s = (const char **)(void *)((char *)&m + fields[i].offset);

                if (!*s)
                        *s = "";
        }
        if (!message_valid(&m))
                return -EINVAL;

        r = put(&c, &type32, sizeof(type32));
        for (int i = 0; i < N_FIELDS && r == 0; i++) {
                const char *member = (const char *)&m + fields[i].offset;

                if (!(t->fields & BIT(i)))
                        continue;
                if (fields[i].kind == FIELD_STRING)
                        r = put_string(&c, &fields[i], *(const char *const *)(const void *)member);
                else if (!number_in_bounds(&fields[i], member))
                        r = -EINVAL;
                else
                        r = put(&c, member, number_size(fields[i].kind));
        }
        return r < 0 ? r : (int)c.position;
}

static bool take(struct cursor *c, void *bytes, size_t n) {
        if (n > c->length - c->position)
                return false;
        memcpy(bytes, c->in + c->position, n);
        c->position += n;
        return true;
}

static bool take_string(struct cursor *c, const struct field *f, const char **ret) {
        const char *s;
        uint16_t n;

        if (!take(c, &n, sizeof(n)) || n < f->min || n > f->max || n >= c->length - c->position)
                return false;
        s = c->in + c->position;
        if (memchr(s, '\0', (size_t)n + 1) != s + n)
                return false;
        c->position += (size_t)n + 1;
        *ret = s;
        return true;
}

static bool take_number(struct cursor *c, const struct field *f, void *member) {
        unsigned char bytes[8];

        /* Checked before it becomes a member: a bool may only ever hold 0 or 1. */
        if (!take(c, bytes, number_size(f->kind)) || !number_in_bounds(f, bytes))
                return false;
        memcpy(member, bytes, number_size(f->kind));
        return true;
}

int channel_parse(const void *packet, size_t length, struct channel_message *ret) {
        struct cursor c = {.in = packet, .length = length};
        struct channel_message m = {0};
        const struct type *t;
        uint32_t type32;

        if (length > CHANNEL_PACKET_MAX || !take(&c, &type32, sizeof(type32)))
                return -EBADMSG;
        t = type_find(type32);
        if (!t)
                return -EBADMSG;
        m.type = t->type;
        for (int i = 0; i < N_FIELDS; i++) {
                char *member = (char *)&m + fields[i].offset;

                if (fields[i].kind == FIELD_STRING)
                        *(const char **)(void *)member = "";
                if (!(t->fields & BIT(i)))
                        continue;
                if (fields[i].kind == FIELD_STRING
                            ? !take_string(&c, &fields[i], (const char **)(void *)member)
                            : !take_number(&c, &fields[i], member))
                        return -EBADMSG;
        }
        if (c.position != length || !message_valid(&m))
                return -EBADMSG;
        *ret = m;
        return 0;
}

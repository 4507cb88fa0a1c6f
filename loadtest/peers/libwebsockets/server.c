/*
 * Echo and chat with libwebsockets, one thread, on its libuv loop (its own default is poll, which asks for every
 * connection each time).
 *
 * A message is copied once, with the room in front that lws_write asks for, and is shared by all that are sent it: the
 * header is written into that room, the same for each of them, as a server's frames have no mask. Invariants: one
 * lws_write per writable callback, as its documents demand; one that is QUEUE_MAX messages behind is closed.
 */
#include <libwebsockets.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

enum {
    MESSAGE_MAX = 2 << 20, /* 1 MiB must come back */
    QUEUE_MAX = 1024,
    READ = 64 << 10,       /* what is read at once */
};

struct message {
    unsigned uses;
    size_t len;
    enum lws_write_protocol kind;
    unsigned char bytes[]; /* LWS_PRE of them are in front of the message */
};

/* A ring that grows by doubling; no memory while it has never been used. */
struct queue {
    struct message **at;
    unsigned size, first, count;
};

struct session {
    struct lws *wsi;
    struct session *next, **self; /* members of the chat */
    struct queue queue;
    struct message *arriving;
    size_t room;
    bool chats;
};

static struct session *members;

static void drop(struct message *message) {
    if (--message->uses == 0)
        free(message);
}

static bool push(struct queue *queue, struct message *message) {
    if (queue->count == QUEUE_MAX)
        return false;
    if (queue->count == queue->size) {
        unsigned size = queue->size ? 2 * queue->size : 4;
        struct message **at = malloc(size * sizeof *at);
        if (!at)
            return false;
        for (unsigned i = 0; i < queue->count; i++)
            at[i] = queue->at[(queue->first + i) % queue->size];
        free(queue->at);
        *queue = (struct queue){at, size, 0, queue->count};
    }
    queue->at[(queue->first + queue->count++) % queue->size] = message;
    message->uses++;
    return true;
}

static struct message *pop(struct queue *queue) {
    struct message *message = queue->at[queue->first];
    queue->first = (queue->first + 1) % queue->size;
    queue->count--;
    return message;
}

/* Queues it; one that is too far behind is ended with the next thing it does. */
static void send_to(struct session *session, struct message *message) {
    if (push(&session->queue, message))
        lws_callback_on_writable(session->wsi);
    else
        lws_set_timeout(session->wsi, PENDING_TIMEOUT_USER_OK, LWS_TO_KILL_ASYNC);
}

/* Appends a piece; the message once it is whole. False when it is too long. */
static bool gather(struct session *session, struct lws *wsi, void *in, size_t len, struct message **whole) {
    struct message *message = session->arriving;
    size_t before = message ? message->len : 0, left = lws_remaining_packet_payload(wsi);
    size_t wanted = before + len + left;
    *whole = NULL;
    if (wanted > MESSAGE_MAX)
        return false;
    if (!message || wanted > session->room) {
        message = realloc(message, sizeof *message + LWS_PRE + wanted);
        if (!message)
            return false;
        if (!session->arriving)
            *message = (struct message){.kind = lws_frame_is_binary(wsi) ? LWS_WRITE_BINARY : LWS_WRITE_TEXT};
        session->room = wanted;
        session->arriving = message;
    }
    memcpy(message->bytes + LWS_PRE + before, in, len);
    message->len = before + len;
    if (left == 0 && lws_is_final_fragment(wsi)) {
        *whole = message;
        session->arriving = NULL;
    }
    return true;
}

static void spread(struct session *session, struct message *message) {
    message->uses = 1; /* ours */
    if (session->chats)
        for (struct session *member = members; member; member = member->next)
            send_to(member, message);
    else
        send_to(session, message);
    drop(message);
}

static void join(struct session *session, struct lws *wsi) {
    char path[8];
    *session = (struct session){.wsi = wsi};
    int len = lws_hdr_copy(wsi, path, sizeof path, WSI_TOKEN_GET_URI);
    session->chats = len > 0 && !strcmp(path, "/chat");
    if (!session->chats)
        return;
    session->next = members;
    session->self = &members;
    if (members)
        members->self = &session->next;
    members = session;
}

static void leave(struct session *session) {
    if (session->self) {
        *session->self = session->next;
        if (session->next)
            session->next->self = session->self;
    }
    while (session->queue.count)
        drop(pop(&session->queue));
    free(session->queue.at);
    free(session->arriving);
}

static int write_next(struct session *session, struct lws *wsi) {
    if (session->queue.count == 0)
        return 0;
    struct message *message = pop(&session->queue);
    int written = lws_write(wsi, message->bytes + LWS_PRE, message->len, message->kind);
    bool ok = written >= (int)message->len;
    drop(message);
    if (session->queue.count)
        lws_callback_on_writable(wsi);
    return ok ? 0 : -1;
}

static int callback(struct lws *wsi, enum lws_callback_reasons reason, void *user, void *in, size_t len) {
    struct session *session = user;
    struct message *whole;
    switch (reason) {
    case LWS_CALLBACK_ESTABLISHED:
        join(session, wsi);
        return 0;
    case LWS_CALLBACK_RECEIVE:
        if (!gather(session, wsi, in, len, &whole))
            return -1;
        if (whole)
            spread(session, whole);
        return 0;
    case LWS_CALLBACK_SERVER_WRITEABLE:
        return write_next(session, wsi);
    case LWS_CALLBACK_CLOSED:
        leave(session);
        return 0;
    default:
        return lws_callback_http_dummy(wsi, reason, user, in, len);
    }
}

/* Without this the library would stop its loop at a signal and stay. */
static void stop(void *handle, int signal) {
    (void)handle, (void)signal;
    _Exit(0);
}

static int port_of(int count, char **word) {
    char *rest = "";
    long port = count == 3 && !strcmp(word[1], "--port") ? strtol(word[2], &rest, 10) : -1;
    if (*rest || port < 0 || port > 65535) {
        fputs("the words are --port NUMBER, from 0 to 65535\n", stderr);
        exit(1);
    }
    return port;
}

int main(int count, char **word) {
    static const struct lws_protocols protocols[] = {
        {.name = "messages", .callback = callback, .per_session_data_size = sizeof(struct session), .rx_buffer_size = READ},
        {0},
    };
    struct lws_context_creation_info wanted = {
        .port = port_of(count, word),
        .iface = "127.0.0.1",
        .protocols = protocols,
        .signal_cb = stop,
        .pt_serv_buf_size = READ,
        .gid = -1,
        .uid = -1,
        .options = LWS_SERVER_OPTION_LIBUV | LWS_SERVER_OPTION_DISABLE_IPV6 | LWS_SERVER_OPTION_VALIDATE_UTF8,
    };
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    lws_set_log_level(LLL_ERR, NULL);
    struct lws_context *context = lws_create_context(&wanted);
    if (!context) {
        fputs("libwebsockets: no context; is the port free?\n", stderr);
        return 1;
    }
    while (lws_service(context, 0) >= 0)
        ;
    lws_context_destroy(context);
    return 0;
}

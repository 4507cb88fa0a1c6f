/*
 * The least that a server on epoll can do: bytes in, the same bytes out. What raw-mio does, without Rust and mio.
 *
 * It knows no WebSocket. The first bytes of a connection are taken for its opening handshake and answered with a 101
 * that is always the same; from then on what is read is written. With --broadcast it is written to all connections, the
 * sender among them, one send each, except what begins with the byte of a Close frame: that goes back to its sender, or
 * the first to leave would end all.
 *
 * Invariants: one recv and one send per event, unless the buffer was filled, the peer has ended or the kernel took less
 * than all; a connection whose bytes wait is not read (echo), or closed above WAITING_MAX (broadcast).
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    EVENTS = 1024,
    BACKLOG = 4096,
    BUFFER = 516 << 10,      /* what is read at once; a frame that is to be spread must lie whole in it */
    WAITING_MAX = 64 << 20,  /* bytes that wait for one that does not read what is spread */
    DESCRIPTORS_MAX = 1 << 20,
    CLOSE = 0x88,            /* the first byte of an unfragmented Close frame, RFC 6455 5.2 */
};

static const char ANSWER[] = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                             "Sec-WebSocket-Accept: AAAAAAAAAAAAAAAAAAAAAAAAAAA=\r\n\r\n";

enum state { FREE, NEW, OPEN };

struct conn {
    char *waiting;       /* bytes that the kernel did not take; NULL while there are none */
    unsigned len, taken; /* how many they are, and how many it has taken since */
    unsigned char state; /* enum state */
    bool watched;        /* the kernel tells when there is room again */
};

static struct conn *conns; /* by descriptor */
static int highest = -1;   /* the highest descriptor that was a connection */
static int poller;
static bool broadcast;
static char buffer[BUFFER];

static _Noreturn void fail(const char *what) {
    perror(what);
    exit(1);
}

static void end(int fd) {
    free(conns[fd].waiting);
    conns[fd] = (struct conn){0};
    close(fd);
}

/* Writes until all is written or the kernel takes no more; how many bytes it took, or -1. */
static ssize_t write_some(int fd, const char *bytes, size_t len) {
    size_t taken = 0;
    while (taken < len) {
        ssize_t sent = send(fd, bytes + taken, len - taken, MSG_NOSIGNAL);
        if (sent >= 0)
            taken += sent;
        else if (errno == EAGAIN)
            break;
        else if (errno != EINTR)
            return -1;
    }
    return taken;
}

/* Writes as much as the kernel takes, behind what waits; the rest waits. False when the connection is to end. */
static bool put(int fd, const char *bytes, size_t len) {
    struct conn *conn = &conns[fd];
    ssize_t taken = conn->waiting ? 0 : write_some(fd, bytes, len);
    if (taken < 0)
        return false;
    size_t rest = len - taken;
    if (rest == 0)
        return true;
    if (conn->len + rest > WAITING_MAX)
        return false;
    char *longer = realloc(conn->waiting, conn->len + rest);
    if (!longer)
        return false;
    memcpy(longer + conn->len, bytes + taken, rest);
    conn->waiting = longer;
    conn->len += rest;
    if (!conn->watched) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        conn->watched = true;
        return epoll_ctl(poller, EPOLL_CTL_MOD, fd, &event) == 0;
    }
    return true;
}

/* Writes what waits. */
static bool flush(int fd) {
    struct conn *conn = &conns[fd];
    ssize_t taken = write_some(fd, conn->waiting + conn->taken, conn->len - conn->taken);
    if (taken < 0)
        return false;
    conn->taken += taken;
    if (conn->taken == conn->len) {
        free(conn->waiting);
        conn->waiting = NULL;
        conn->len = conn->taken = 0;
    }
    return true;
}

/* False when the sender itself is to end. */
static bool spread(int sender, size_t len) {
    bool stays = true;
    for (int fd = 0; fd <= highest; fd++) {
        if (conns[fd].state != OPEN || put(fd, buffer, len))
            continue;
        if (fd == sender)
            stays = false;
        else
            end(fd);
    }
    return stays;
}

/* Events come once per change, so the listener is asked until nobody waits. */
static void accept_all(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == ECONNABORTED || errno == EINTR))
            continue;
        if (fd < 0 && errno == EAGAIN)
            return;
        if (fd < 0)
            fail("accept4");
        struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
        if (fd >= DESCRIPTORS_MAX || epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event)) {
            close(fd);
            continue;
        }
        conns[fd].state = NEW;
        if (fd > highest)
            highest = fd;
    }
}

/* Reads and writes for one event; false when the connection is to end. */
static bool serve(int fd, unsigned events) {
    struct conn *conn = &conns[fd];
    bool more = events & ~EPOLLOUT;
    if (conn->waiting) {
        if (!flush(fd))
            return false;
        /* It was not read as long as bytes waited, and was told once what there is to be read. */
        more = true;
    }
    while (more) {
        if (!broadcast && conn->waiting)
            return true;
        ssize_t len = recv(fd, buffer, BUFFER, 0);
        if (len < 0 && errno == EINTR)
            continue;
        if (len < 0)
            return errno == EAGAIN;
        if (len == 0)
            return false;
        more = len == BUFFER || events & (EPOLLRDHUP | EPOLLHUP);
        bool ok;
        if (conn->state == NEW) {
            conn->state = OPEN;
            ok = put(fd, ANSWER, sizeof ANSWER - 1);
        } else if (broadcast && (unsigned char)buffer[0] != CLOSE) {
            ok = spread(fd, len);
        } else {
            ok = put(fd, buffer, len);
        }
        if (!ok)
            return false;
    }
    return true;
}

static int listen_on(int port) {
    int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    /* On Linux an accepted socket takes TCP_NODELAY over from its listener. */
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) ||
        bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, BACKLOG))
        fail("127.0.0.1");
    return fd;
}

static int words(int count, char **word) {
    long port = -1;
    for (int i = 1; i < count; i++) {
        char *rest = "";
        if (!strcmp(word[i], "--broadcast"))
            broadcast = true;
        else if (!strcmp(word[i], "--port") && i + 1 < count)
            port = strtol(word[++i], &rest, 10);
        else
            port = -1, i = count;
        if (*rest)
            port = -1;
    }
    if (port < 0 || port > 65535) {
        fputs("the words are --port NUMBER, from 0 to 65535, and --broadcast\n", stderr);
        exit(1);
    }
    return port;
}

int main(int count, char **word) {
    int listener = listen_on(words(count, word));
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
    /* Pages of it that no descriptor reaches are never touched. */
    conns = calloc(DESCRIPTORS_MAX, sizeof *conns);
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.fd = listener}, events[EVENTS];
    if (!conns || poller < 0 || epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event))
        fail("epoll");
    for (;;) {
        int some = epoll_wait(poller, events, EVENTS, -1);
        if (some < 0 && errno != EINTR)
            fail("epoll_wait");
        for (int i = 0; i < some; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                accept_all(listener);
            else if (conns[fd].state != FREE && !serve(fd, events[i].events))
                end(fd);
        }
    }
}

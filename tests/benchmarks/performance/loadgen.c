/*
 * A load generator for WebSocket servers: one process, epoll, any number of connections.
 *
 * It opens its connections, subscribes each to one of the channels, then publishes and counts what
 * arrives, or sends messages and counts the answers. It prints one JSON object. What a server is
 * told is given by the options, so that it measures every server in the same way.
 *
 * While it measures it polls and sleeps instead of waiting in epoll, so that the server never pays
 * for waking it. The server's processor time is that of all threads of its process.
 *
 * Compile: cc -O2 -o loadgen loadgen.c (Linux)
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

#define MAX_ANSWERS 4
#define MAX_MESSAGE 65536          /* bytes of a message that is sent */
#define MAX_LATENCIES 8000000      /* later ones are counted, but not in the percentiles */
#define CONNECTIONS_A_ADDRESS 8000 /* of 127.0.0.0/8: below the number of ports of one address */
#define POLL_US 50
#define CONNECT_PATIENCE_S 10.0 /* without any progress */

enum state { CONNECTING, HANDSHAKE, GREETING, SUBSCRIBING, READY, CLOSED };
enum opcode { TEXT = 1, CLOSE = 8, PING = 9, PONG = 10 };

struct connection {
    int fd, number; /* number: from 0; publishers have negative ones */
    enum state state;
    char *rest; /* the beginning of a frame that has not arrived entirely */
    int rest_length, rest_size;
    int64_t asked_us; /* when the message was sent that is to be answered */
};

/* -- options ------------------------------------------------------------------------------------ */

static int port, pid, connections = 100, channels = 1, publishers = 1, at_once = 64;
static int publications, window = 1, payload_bytes = 200, warm_up = 5;
static double rate, seconds = 5, settle_s = 1, idle_s, timeout_s = 5;
static const char *path = "/ws/", *headers = "", *subscribe, *subscribed = "subscribed", *publish;
static const char *greeting, *ask, *answered = "pong";
static struct { const char *received, *reply; } answers[MAX_ANSWERS];
static int answer_count;

static const char *usage =
    "loadgen --port N --pid PID [options]\n"
    "  --connections N --channels N --publishers N --at-once N   at_once: handshakes in flight\n"
    "  --path PATH --headers 'A: b\\r\\nC: d\\r\\n'\n"
    "  --greeting TEXT      a frame that begins so comes before the subscription is sent\n"
    "  --answer 'TEXT=REPLY'  a frame that begins with TEXT is answered with REPLY; up to 4 times\n"
    "  --subscribe FORMAT   the subscription, with %d for the number of the channel\n"
    "  --subscribed TEXT    what its confirmation contains\n"
    "  --publish FORMAT     a publication, with %d for the channel and %s for the payload\n"
    "  --warm-up N          publications before those that are measured, one after another\n"
    "  --publications N --window N --payload BYTES --rate PER_SECOND --seconds S --timeout S\n"
    "  --ask TEXT --answered TEXT   instead: each connection sends TEXT whenever it was answered\n"
    "  --settle S --idle S  seconds after the connects before, and while, an idle server is measured\n";

/* -- what is measured --------------------------------------------------------------------------- */

static int epoll_fd;
static bool measuring, polling;
static long ready, closed, received;
static uint32_t *latencies_us;
static long latency_count;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int64_t now_us(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000LL + t.tv_nsec / 1000;
}

static double now(void) { return now_us() / 1e6; }

/* Processor seconds of all threads of the server. */
static double server_seconds(void) {
    char name[300];
    double total = 0;
    snprintf(name, sizeof name, "/proc/%d/task", pid);
    DIR *tasks = opendir(name);
    if (!tasks) return 0;
    for (struct dirent *task; (task = readdir(tasks));) {
        if (task->d_name[0] == '.') continue;
        snprintf(name, sizeof name, "/proc/%d/task/%.20s/schedstat", pid, task->d_name);
        FILE *file = fopen(name, "r");
        unsigned long long nanoseconds;
        if (!file) continue;
        if (fscanf(file, "%llu", &nanoseconds) == 1) total += nanoseconds / 1e9;
        fclose(file);
    }
    closedir(tasks);
    return total;
}

/* KiB of the server that are in memory. */
static long server_kib(void) {
    char name[64];
    long size, resident = 0;
    snprintf(name, sizeof name, "/proc/%d/statm", pid);
    FILE *file = fopen(name, "r");
    if (!file) return 0;
    if (fscanf(file, "%ld %ld", &size, &resident) != 2) resident = 0;
    fclose(file);
    return resident * (sysconf(_SC_PAGESIZE) / 1024);
}

/* -- one connection ----------------------------------------------------------------------------- */

static bool publishes(struct connection *c) { return c->number < 0; }

static void end(struct connection *c) {
    if (c->state == CLOSED) return;
    if (c->state == READY && !publishes(c)) ready--;
    c->state = CLOSED;
    closed++;
    close(c->fd);
}

static void send_bytes(struct connection *c, const void *bytes, int length) {
    for (int done = 0; done < length;) {
        int sent = send(c->fd, (const char *)bytes + done, length - done, MSG_NOSIGNAL);
        if (sent > 0) done += sent;
        else if (errno == EAGAIN) usleep(100);
        else { end(c); return; }
    }
}

static void send_frame(struct connection *c, enum opcode opcode, const char *text, int length) {
    static unsigned char frame[MAX_MESSAGE + 8];
    static const unsigned char mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    int at = 2;
    if (length >= MAX_MESSAGE) { fprintf(stderr, "a message is too long\n"); exit(1); }
    frame[0] = 0x80 | opcode;
    if (length < 126) {
        frame[1] = 0x80 | length;
    } else {
        frame[1] = 0x80 | 126;
        frame[2] = length >> 8;
        frame[3] = length;
        at = 4;
    }
    memcpy(frame + at, mask, 4);
    at += 4;
    for (int i = 0; i < length; i++) frame[at + i] = text[i] ^ mask[i & 3];
    send_bytes(c, frame, at + length);
}

static void send_text(struct connection *c, const char *text) { send_frame(c, TEXT, text, strlen(text)); }

static void become_ready(struct connection *c) {
    c->state = READY;
    if (!publishes(c)) ready++;
}

static void send_subscription(struct connection *c) {
    char text[1024];
    if (publishes(c) || !subscribe) { become_ready(c); return; }
    snprintf(text, sizeof text, subscribe, c->number % channels);
    c->state = SUBSCRIBING;
    send_text(c, text);
}

static void ask_again(struct connection *c) {
    c->asked_us = now_us();
    send_text(c, ask);
}

static bool contains(const char *text, int length, const char *part) {
    return memmem(text, length, part, strlen(part)) != NULL;
}

static bool begins(const char *text, int length, const char *part) {
    int n = strlen(part);
    return length >= n && !memcmp(text, part, n);
}

static void count(int64_t latency_us) {
    received++;
    if (measuring && latency_count < MAX_LATENCIES) latencies_us[latency_count++] = latency_us > 0 ? latency_us : 0;
}

static void on_text(struct connection *c, const char *text, int length, int64_t at_us) {
    for (int i = 0; i < answer_count; i++)
        if (begins(text, length, answers[i].received)) { send_text(c, answers[i].reply); return; }
    if (c->state == GREETING) {
        if (begins(text, length, greeting)) send_subscription(c);
    } else if (c->state == SUBSCRIBING) {
        if (contains(text, length, subscribed)) become_ready(c);
    } else if (ask) {
        if (measuring && contains(text, length, answered)) { count(at_us - c->asked_us); ask_again(c); }
    } else if (!publishes(c)) {
        const char *stamp = memmem(text, length, "\"ts\":", 5), *stop = text + length;
        if (!stamp) return;
        int64_t sent_us = 0;
        for (stamp += 5; stamp < stop && *stamp == ' '; stamp++) {}
        for (; stamp < stop && *stamp >= '0' && *stamp <= '9'; stamp++) sent_us = sent_us * 10 + (*stamp - '0');
        count(at_us - sent_us);
    }
}

/* Returns how many of the bytes were used. */
static int on_bytes(struct connection *c, char *bytes, int length, int64_t at_us) {
    int at = 0;
    if (c->state == HANDSHAKE) {
        char *head_end = memmem(bytes, length, "\r\n\r\n", 4);
        if (!head_end) return 0;
        if (!begins(bytes + 8, length - 8, " 101")) {
            fprintf(stderr, "the handshake was answered %.*s\n", 40, bytes);
            end(c);
            return length;
        }
        at = head_end + 4 - bytes;
        if (greeting) c->state = GREETING;
        else send_subscription(c);
    }
    while (c->state != CLOSED && length - at >= 2) {
        const unsigned char *frame = (unsigned char *)bytes + at;
        int head = 2;
        long payload = frame[1] & 127;
        if (payload == 126) {
            if (length - at < 4) break;
            payload = frame[2] << 8 | frame[3];
            head = 4;
        } else if (payload == 127) {
            if (length - at < 10) break;
            payload = (long)frame[6] << 24 | frame[7] << 16 | frame[8] << 8 | frame[9];
            head = 10;
        }
        if (length - at < head + payload) break;
        char *text = bytes + at + head;
        switch (frame[0] & 15) {
        case TEXT: on_text(c, text, payload, at_us); break;
        case PING: send_frame(c, PONG, text, payload); break;
        case CLOSE: end(c); break;
        }
        at += head + payload;
    }
    return at;
}

static void on_readable(struct connection *c) {
    static char buffer[1 << 18];
    memcpy(buffer, c->rest, c->rest_length);
    int got = recv(c->fd, buffer + c->rest_length, sizeof buffer - c->rest_length, 0);
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got <= 0) { end(c); return; }
    int length = c->rest_length + got, used = on_bytes(c, buffer, length, now_us());
    c->rest_length = length - used;
    if (c->rest_length > c->rest_size) c->rest = realloc(c->rest, c->rest_size = c->rest_length + 512);
    memcpy(c->rest, buffer + used, c->rest_length);
}

static void on_connected(struct connection *c) {
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error) { fprintf(stderr, "connect: %s\n", strerror(error)); end(c); return; }
    struct epoll_event interest = {.events = EPOLLIN, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_MOD, c->fd, &interest);
    char head[4096];
    int length = snprintf(head, sizeof head,
        "GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Origin: http://127.0.0.1:%d\r\n%s\r\n", path, port, port, headers);
    c->state = HANDSHAKE;
    send_bytes(c, head, length);
}

static void begin(struct connection *c, int number) {
    int on = 1;
    struct linger reset = {1, 0}; /* leave no TIME_WAIT behind */
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET};
    *c = (struct connection){.number = number, .rest = malloc(1)};
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd < 0) fail("socket");
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on);
    setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (number < 0 ? 0 : 1 + number / CONNECTIONS_A_ADDRESS));
    if (bind(c->fd, (void *)&from, sizeof from)) fail("bind");
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    to.sin_port = htons(port);
    if (connect(c->fd, (void *)&to, sizeof to) && errno != EINPROGRESS) fail("connect");
    struct epoll_event interest = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
    epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &interest);
}

/* Serve what is there; wait up to so many milliseconds for it. */
static void serve(int wait_ms) {
    static struct epoll_event events[1024];
    int n = epoll_wait(epoll_fd, events, 1024, polling ? 0 : wait_ms);
    if (!n && polling) usleep(POLL_US);
    for (int i = 0; i < n; i++) {
        struct connection *c = events[i].data.ptr;
        if (c->state == CLOSED) continue;
        if (c->state == CONNECTING) on_connected(c);
        else on_readable(c);
    }
}

static void serve_for(double duration_s) {
    for (double until = now() + duration_s; now() < until;) serve(5);
}

/* -- the phases --------------------------------------------------------------------------------- */

static void connect_publishers(struct connection *all) {
    for (int i = 0; i < publishers; i++) {
        begin(&all[i], -1 - i);
        for (double until = now() + CONNECT_PATIENCE_S; all[i].state < READY && now() < until;) serve(20);
    }
}

static void connect_all(struct connection *all) {
    double progress = now();
    long before = 0, closed_before = closed;
    for (int next = 0; ready + closed - closed_before < connections;) {
        while (next < connections && next - ready - (closed - closed_before) < at_once) {
            begin(&all[next], next);
            next++;
        }
        serve(10);
        if (ready != before) { before = ready; progress = now(); }
        if (now() - progress > CONNECT_PATIENCE_S) break;
    }
}

static void publish_one(struct connection *all) {
    static long sequence;
    static char padding[MAX_MESSAGE / 2], payload[MAX_MESSAGE / 2 + 100], text[MAX_MESSAGE];
    if (!padding[0]) memset(padding, 'x', sizeof padding - 1);
    int length = snprintf(payload, 100, "{\"seq\":%ld,\"ts\":%ld,\"pad\":\"", sequence, (long)now_us());
    int rest = payload_bytes - length - 2;
    snprintf(payload + length, sizeof payload - length, "%.*s\"}", rest > 0 ? rest : 0, padding);
    snprintf(text, sizeof text, publish, (int)(sequence % channels), payload);
    send_text(&all[sequence++ % publishers], text);
}

struct outcome { long expected, received; double elapsed_s, server_s; };

static void begin_to_measure(struct outcome *o) {
    received = latency_count = 0;
    measuring = true;
    o->server_s = server_seconds();
    o->elapsed_s = now();
}

static struct outcome publish_all(struct connection *all) {
    struct outcome o = {0};
    long each = connections / channels, sent = 0, given_up = 0, before = 0;
    for (int i = 1; i <= warm_up; i++) {
        publish_one(all);
        for (double until = now() + timeout_s; received < i * each;) {
            if (now() > until) { fprintf(stderr, "publication %d did not arrive everywhere\n", i); exit(1); }
            serve(10);
        }
    }
    serve_for(0.2);
    begin_to_measure(&o);
    double begun = o.elapsed_s, newest = begun, deadline = begun;
    long most = publications;
    while (true) {
        if (now() - begun > seconds) most = sent; /* no more, but those that were sent are waited for */
        if (rate) while (sent < most && now() - begun >= sent / rate) { publish_one(all); sent++; }
        else while (sent < most && sent * each - received - given_up <= (window - 1) * each) { publish_one(all); sent++; }
        serve(rate ? 1 : 20);
        if (received != before) { before = received; newest = deadline = now(); }
        if (sent >= most && received + given_up >= sent * each) break;
        if (now() - deadline > timeout_s) {
            if (sent >= most) break;
            given_up = sent * each - received;
            deadline = now();
        }
    }
    measuring = false;
    o.server_s = server_seconds() - o.server_s;
    o.elapsed_s = newest - begun;
    o.expected = sent * each;
    o.received = received;
    return o;
}

static struct outcome ask_all(struct connection *all) {
    struct outcome o = {0};
    measuring = true;
    for (int i = 0; i < connections; i++) if (all[i].state == READY) ask_again(&all[i]);
    serve_for(0.5);
    begin_to_measure(&o);
    serve_for(seconds);
    o.elapsed_s = now() - o.elapsed_s;
    o.server_s = server_seconds() - o.server_s;
    o.expected = o.received = received;
    return o;
}

static int compare(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(double share) {
    return latency_count ? latencies_us[(long)(share * (latency_count - 1))] / 1e3 : 0;
}

static void read_options(int count, char **values) {
    enum { PORT = 1, PID, CONNECTIONS, CHANNELS, PUBLISHERS, AT_ONCE, PATH, HEADERS, GREETED, ANSWER, SUBSCRIBE,
           SUBSCRIBED, PUBLISH, PUBLICATIONS, WINDOW, PAYLOAD, RATE, SECONDS, TIMEOUT, ASK, ANSWERED, SETTLE, IDLE, WARM_UP };
    static const struct option known[] = {
        {"port", 1, 0, PORT}, {"pid", 1, 0, PID}, {"connections", 1, 0, CONNECTIONS}, {"channels", 1, 0, CHANNELS},
        {"publishers", 1, 0, PUBLISHERS}, {"at-once", 1, 0, AT_ONCE}, {"path", 1, 0, PATH}, {"headers", 1, 0, HEADERS},
        {"greeting", 1, 0, GREETED}, {"answer", 1, 0, ANSWER}, {"subscribe", 1, 0, SUBSCRIBE},
        {"subscribed", 1, 0, SUBSCRIBED}, {"publish", 1, 0, PUBLISH}, {"publications", 1, 0, PUBLICATIONS},
        {"window", 1, 0, WINDOW}, {"payload", 1, 0, PAYLOAD}, {"rate", 1, 0, RATE}, {"seconds", 1, 0, SECONDS},
        {"timeout", 1, 0, TIMEOUT}, {"ask", 1, 0, ASK}, {"answered", 1, 0, ANSWERED}, {"settle", 1, 0, SETTLE},
        {"idle", 1, 0, IDLE}, {"warm-up", 1, 0, WARM_UP}, {0}};
    for (int option; (option = getopt_long(count, values, "", known, NULL)) != -1;) switch (option) {
        case PORT: port = atoi(optarg); break;
        case PID: pid = atoi(optarg); break;
        case CONNECTIONS: connections = atoi(optarg); break;
        case CHANNELS: channels = atoi(optarg); break;
        case PUBLISHERS: publishers = atoi(optarg); break;
        case AT_ONCE: at_once = atoi(optarg); break;
        case PATH: path = optarg; break;
        case HEADERS: headers = optarg; break;
        case GREETED: greeting = optarg; break;
        case ANSWER: {
            char *equals = strrchr(optarg, '=');
            if (!equals || answer_count == MAX_ANSWERS) { fputs(usage, stderr); exit(2); }
            *equals = 0;
            answers[answer_count].received = optarg;
            answers[answer_count++].reply = equals + 1;
            break;
        }
        case SUBSCRIBE: subscribe = optarg; break;
        case SUBSCRIBED: subscribed = optarg; break;
        case PUBLISH: publish = optarg; break;
        case PUBLICATIONS: publications = atoi(optarg); break;
        case WINDOW: window = atoi(optarg); break;
        case PAYLOAD: payload_bytes = atoi(optarg); break;
        case RATE: rate = atof(optarg); break;
        case SECONDS: seconds = atof(optarg); break;
        case TIMEOUT: timeout_s = atof(optarg); break;
        case ASK: ask = optarg; break;
        case ANSWERED: answered = optarg; break;
        case SETTLE: settle_s = atof(optarg); break;
        case WARM_UP: warm_up = atoi(optarg); break;
        case IDLE: idle_s = atof(optarg); break;
        default: fputs(usage, stderr); exit(2);
    }
    if (!port || !pid || channels > connections || publishers < 1 || payload_bytes >= MAX_MESSAGE / 2
        || (publications && !publish)) {
        fputs(usage, stderr);
        exit(2);
    }
}

int main(int count, char **values) {
    struct rlimit files;
    read_options(count, values);
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    prctl(PR_SET_TIMERSLACK, 1000);
    epoll_fd = epoll_create1(0);
    latencies_us = malloc(sizeof *latencies_us * MAX_LATENCIES);
    struct connection *publishing = calloc(publishers, sizeof *publishing);
    struct connection *all = calloc(connections, sizeof *all);
    if (!latencies_us || !publishing || !all) fail("memory");

    /* First, so that what the server imports for its first connection is not counted. */
    connect_publishers(publishing);
    serve_for(0.3);
    long kib_before = server_kib();
    double server_before = server_seconds(), begun = now();
    connect_all(all);
    double connecting_s = now() - begun, connecting_server_s = server_seconds() - server_before;
    long connected = ready;
    serve_for(settle_s);
    long kib = server_kib() - kib_before;
    double idle_percent = 0;
    if (idle_s) {
        server_before = server_seconds();
        begun = now();
        serve_for(idle_s);
        idle_percent = (server_seconds() - server_before) / (now() - begun) * 100;
    }
    struct outcome o = {0};
    polling = true;
    if (ask) o = ask_all(all);
    else if (publications) o = publish_all(publishing);
    qsort(latencies_us, latency_count, sizeof *latencies_us, compare);
    printf("{\"connected\":%ld,\"closed\":%ld,\"connects_per_s\":%.1f,\"connect_us\":%.2f,\"kib\":%.3f,"
           "\"idle_percent\":%.3f,\"expected\":%ld,\"received\":%ld,\"lost_percent\":%.3f,\"per_s\":%.1f,"
           "\"us\":%.4f,\"busy_percent\":%.1f,\"p50_ms\":%.3f,\"p99_ms\":%.3f}\n",
           connected, closed, connected / connecting_s,
           connected ? connecting_server_s / connected * 1e6 : 0, (double)kib / connections, idle_percent,
           o.expected, o.received, o.expected ? 100.0 * (o.expected - o.received) / o.expected : 0,
           o.elapsed_s > 0 ? o.received / o.elapsed_s : 0, o.received ? o.server_s / o.received * 1e6 : 0,
           o.elapsed_s > 0 ? o.server_s / o.elapsed_s * 100 : 0, percentile_ms(.5), percentile_ms(.99));
    return 0;
}
